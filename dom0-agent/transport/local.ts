// The receiver as a child of our own, for a drive that is mounted on this machine (destvm = none).

import { openChild } from "./child-connection.ts";
import type { Transport } from "./transport.ts";

export interface LocalOptions {
  /** The receiver's program: lib/receiver.mjs beside ours, or vm-receiver/service/main.ts during development. */
  readonly receiver: `/${string}`;
  /** The receiver's settings file; undefined for its own rules. */
  readonly settings?: string | undefined;
}

export function localTransport({ receiver, settings }: LocalOptions): Transport {
  const name = "this machine";
  return {
    name,
    open: async (service, signal) =>
      openChild(
        {
          name,
          // The same Node that runs us; the flags are those of the receiver's launcher.
          command: process.execPath as `/${string}`,
          args: [
            "--disable-sigusr1",
            "--max-semi-space-size=1",
            "--disable-warning=ExperimentalWarning",
            receiver,
            service,
            ...(settings === undefined ? [] : ["--settings", settings]),
          ],
          missingHint: "install sparsebak again: its Node.js is gone",
          explain: () => ({ meaning: undefined, unreachable: false }),
        },
        signal,
      ),
  };
}
