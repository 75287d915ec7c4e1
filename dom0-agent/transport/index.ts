// Which way leads to a destination: by the form of its `destvm`.

import { destinationOf } from "./destination.ts";
import { localTransport, type LocalOptions } from "./local.ts";
import { qrexecTransport } from "./qrexec.ts";
import { sshTransport } from "./ssh.ts";
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
  const destination = destinationOf(destvm);
  switch (destination.kind) {
    case "local":
      return localTransport(options.local);
    case "ssh":
      return sshTransport(destination.ssh);
    case "qrexec":
      return qrexecTransport({ vm: destination.vm, start: options.startVm });
    case "wrong":
      throw new TransportError(`destvm: found «${destvm}», wanted ${destination.wanted}`, true);
  }
}
