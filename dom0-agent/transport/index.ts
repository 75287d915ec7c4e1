// Which way leads to a destination: by the form of its `destvm`.

import { localTransport, type LocalOptions } from "./local.ts";
import { isVmName, qrexecTransport } from "./qrexec.ts";
import { parseSshDestination, sshTransport } from "./ssh.ts";
import { type Transport, TransportError } from "./transport.ts";

export interface TransportOptions {
  /** Start the destination VM when it is halted. */
  readonly startVm: boolean;
  /** The receiver for `destvm = none`. */
  readonly local: LocalOptions;
}

/** The transport to `destvm`: `none`, `ssh://user@host[:port]` or the name of a VM. Throws TransportError for what is
 *  none of them. */
export function transportFor(destvm: string, options: TransportOptions): Transport {
  if (destvm === "none") return localTransport(options.local);
  if (destvm.includes("://")) {
    const destination = parseSshDestination(destvm);
    if (destination !== undefined) return sshTransport(destination);
    throw unknown(destvm, "wanted ssh://user@host or ssh://user@host:port");
  }
  if (destvm === "dom0" || destvm === "@adminvm")
    throw unknown(destvm, "for a drive mounted in dom0 it is none");
  if (!isVmName(destvm)) throw unknown(destvm, "wanted the name of a VM, none, or ssh://user@host[:port]");
  return qrexecTransport({ vm: destvm, start: options.startVm });
}

function unknown(destvm: string, wanted: string): TransportError {
  return new TransportError(`destvm: found «${destvm}», ${wanted}`, true);
}
