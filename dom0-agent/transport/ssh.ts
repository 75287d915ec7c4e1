// The receiver on another machine, by ssh. The account there should force one service a key (docs/install.md); what
// we ask for is then only a wish. Nothing from the destination's text can become an option of ssh.

import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Service } from "../../protocol/wire/messages.ts";
import { type EndMeaning, openChild } from "./child-connection.ts";
import { isHarmless, type SshDestination } from "./destination.ts";
import { type Transport, TransportError } from "./transport.ts";

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
  if (!isHarmless(destination)) {
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
