// The receiver on another machine, by ssh. The account there should force one service a key (docs/install.md); what
// we ask for is then only a wish. Nothing from the destination's text can become an option of ssh.

import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Service } from "../../protocol/wire/messages.ts";
import { type EndMeaning, openChild } from "./child-connection.ts";
import { type Transport, TransportError } from "./transport.ts";

export interface SshDestination {
  readonly user: string;
  /** A host name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** Undefined: whatever ssh's own configuration says. */
  readonly port: number | undefined;
}

const userName = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/;
const hostName = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9_-]{0,62})*$/;
const ipv6 = /^[0-9A-Fa-f:.]{2,45}$/;

/** What `ssh://user@host[:port]` names, or undefined where the text is anything else. */
export function parseSshDestination(text: string): SshDestination | undefined {
  const match = /^ssh:\/\/([^@:/[\]]+)@(?:\[([^\]]+)\]|([^@:/[\]]+))(?::([1-9]\d{0,4}))?$/.exec(text);
  if (match === null) return undefined;
  const [, user = "", bracketed, plain, portText] = match;
  const host = bracketed ?? plain ?? "";
  const port = portText === undefined ? undefined : Number(portText);
  if (!userName.test(user) || (port !== undefined && port > 65_535)) return undefined;
  if (!(bracketed === undefined ? hostName.test(host) : ipv6.test(host))) return undefined;
  return { user, host, port };
}

/** No terminal, no questions, nothing forwarded, no connection shared with others, and a dead line is noticed. */
const sshOptions = [
  "BatchMode=yes",
  "StrictHostKeyChecking=yes",
  "ClearAllForwardings=yes",
  "ForwardAgent=no",
  "ForwardX11=no",
  "PermitLocalCommand=no",
  "ControlMaster=no",
  "ControlPath=none",
  "EscapeChar=none",
  "Compression=no",
  "ConnectTimeout=30",
  "ServerAliveInterval=15",
  "ServerAliveCountMax=4",
];

/** The key of a service, `~/.ssh/sparsebak.Send` and so on, is the only one offered where there is one. */
function keyOptions(service: Service, home: string): readonly string[] {
  if (!existsSync(join(home, ".ssh", service))) return [];
  return ["-o", `IdentityFile=~/.ssh/${service}`, "-o", "IdentitiesOnly=yes"];
}

/** `home` is where ssh looks for `.ssh`, by default that of the user who runs us. Throws TransportError for a
 *  destination that parseSshDestination would not give. */
export function sshTransport(destination: SshDestination, home: string = userInfo().homedir): Transport {
  const { user, host, port } = destination;
  const name = `ssh ${user}@${host}`;
  if (!userName.test(user) || !(hostName.test(host) || ipv6.test(host))) {
    throw new TransportError(`connect to ${name}: the user or host name holds what it may not hold`, true);
  }
  const options = ["-T", ...sshOptions.flatMap((option) => ["-o", option])];
  const where = [...(port === undefined ? [] : ["-p", String(port)]), "-l", user, "--", host];
  return {
    name,
    open: async (service, signal) =>
      openChild(
        {
          name,
          command: "ssh",
          args: [...options, ...keyOptions(service, home), ...where, service],
          missingHint: "install OpenSSH's client",
          explain: (exitCode, heard) => explain(name, service, exitCode, heard),
        },
        signal,
      ),
  };
}

function explain(name: string, service: Service, exitCode: number | undefined, heard: boolean): EndMeaning {
  switch (exitCode) {
    case 127:
      return {
        meaning: `${name}: ${service} not found there`,
        unreachable: true,
        hint: `install the receiver there, with a forced command for this key (docs/install.md)`,
      };
    case 126:
      return { meaning: `${name}: ${service} can't be run there`, unreachable: true };
    case 255:
      return heard
        ? { meaning: `the connection to ${name} was lost`, unreachable: false }
        : {
            meaning: `${name} can't be reached, or does not let us in`,
            unreachable: true,
            hint: "the key must work without a question, and the host must be in known_hosts: try ssh by hand, as root",
          };
    default:
      return { meaning: undefined, unreachable: false };
  }
}
