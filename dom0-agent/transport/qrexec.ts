// The receiver in a VM of Qubes OS, by qrexec-client (design section 6). dom0's calls ask no policy.

import type { Service } from "../../protocol/wire/messages.ts";
import { runTool } from "../tools.ts";
import { type EndMeaning, openChild } from "./child-connection.ts";
import { isVmName } from "./destination.ts";
import { printable } from "./printable.ts";
import { type Connection, type Transport, TransportError } from "./transport.ts";

/** Seconds for the VM's side of qrexec to answer; a VM that has just started can be slow. */
const connectSeconds = 30;

export interface QrexecOptions {
  /** A name that isVmName accepts. */
  readonly vm: string;
  /** Start the VM when it is halted. */
  readonly start: boolean;
}

/** Throws TransportError for a name that no VM can have. */
export function qrexecTransport({ vm, start }: QrexecOptions): Transport {
  if (!isVmName(vm)) {
    throw new TransportError(
      `connect to VM: found the name «${vm}», wanted a letter, then letters, digits, _ or -`,
      true,
    );
  }
  const name = `VM ${vm}`;
  return {
    name,
    open: async (service, signal) => {
      signal.throwIfAborted();
      if (start) await startVm(vm, signal);
      return connect(name, vm, service, signal);
    },
  };
}

async function startVm(vm: string, signal: AbortSignal): Promise<void> {
  const result = await runTool("qvm-start", ["--skip-if-running", vm], { signal });
  signal.throwIfAborted();
  if (result.exitCode === 0) return;
  const printed = printable(Buffer.from(result.stderr));
  const why = printed === "" ? (result.failure ?? `exit code ${result.exitCode ?? "unknown"}`) : printed;
  throw new TransportError(`start VM ${vm}: qvm-start: ${why}`, true, `see whether “qvm-start ${vm}” works`);
}

async function connect(name: string, vm: string, service: Service, signal: AbortSignal): Promise<Connection> {
  return openChild(
    {
      name,
      command: "qrexec-client",
      args: ["-w", String(connectSeconds), "-d", vm, "--", `DEFAULT:QUBESRPC ${service} dom0`],
      missingHint:
        "a VM can be reached only from dom0 of Qubes OS; elsewhere use destvm = none or ssh://user@host",
      explain: (exitCode, heard) => explain(vm, service, exitCode, heard),
    },
    signal,
  );
}

/** What qrexec-client's exit codes mean. A service can return each of them itself, so they only help to explain. */
function explain(vm: string, service: Service, exitCode: number | undefined, heard: boolean): EndMeaning {
  switch (exitCode) {
    case 125:
      return {
        meaning: `VM ${vm} is not running, or ${service} can't be started in it`,
        unreachable: true,
        hint: `start it with “qvm-start ${vm}”, or let sparsebak do so (start-vm = yes)`,
      };
    case 126:
      return { meaning: `${service} was refused in VM ${vm}`, unreachable: true };
    case 127:
      return {
        meaning: `VM ${vm} has no ${service}, or no Node.js to run it`,
        unreachable: true,
        hint: `install the receiver in VM ${vm} or its template (docs/install.md)`,
      };
    case 255:
      return { meaning: `the connection to VM ${vm} was lost`, unreachable: !heard };
    case 1:
      return { meaning: `the connection to VM ${vm} failed, or ${service} did`, unreachable: false };
    default:
      return { meaning: undefined, unreachable: false };
  }
}
