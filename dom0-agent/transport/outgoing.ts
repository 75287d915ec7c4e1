// Our side of the stream: writes with back-pressure, that copy nothing and tell when a buffer may be used again.
//
// Node hands a Uint8Array to the kernel as it is (write, or writev for several that wait), keeps hold of it until the
// kernel has taken its last byte, and only then runs the write's callback. So a buffer is free when the callback of
// its write has run, and callbacks run in the order of the writes.

import type { Writable } from "node:stream";

/** Bytes handed over and not yet taken by the kernel, above which `write` waits. */
const windowBytes = 1024 * 1024;

export interface Outgoing {
  /** Resolves when more may be written. Rejects, as all others do, with the stream's error. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the kernel has taken everything written so far. */
  flushed(): Promise<void>;
  /** Flushes, then closes our side. */
  end(): Promise<void>;
}

export function outgoing(stream: Writable): Outgoing {
  let pending = 0;
  let failure: Error | undefined;
  let last: Promise<void> = Promise.resolve();
  let waiters: (() => void)[] = [];

  const wake = (): void => {
    const woken = waiters;
    waiters = [];
    for (const each of woken) each();
  };
  /** Resolves when the window has room again; rejects with the failure. */
  const room = async (): Promise<void> => {
    if (failure !== undefined) throw failure;
    if (pending < windowBytes) return;
    await new Promise<void>((resolve) => waiters.push(resolve));
    await room();
  };
  const fail = (error: Error): void => {
    failure ??= error;
    wake();
  };
  stream.on("error", fail);
  stream.on("close", () => fail(new Error("the pipe is closed")));

  return {
    write: async (bytes) => {
      if (failure !== undefined) throw failure;
      pending += bytes.length;
      last = new Promise((resolve, reject) => {
        stream.write(bytes, (error) => {
          pending -= bytes.length;
          if (error) {
            fail(error);
            reject(error);
          } else {
            resolve();
            if (pending < windowBytes) wake();
          }
        });
      });
      // Whoever waits for it hears of the failure; where nobody does, `failure` has it.
      last.catch(() => {});
      await room();
    },
    flushed: async () => last,
    end: async () => {
      await last;
      await new Promise<void>((resolve) => {
        stream.once("close", resolve);
        stream.end(() => resolve());
      });
    },
  };
}
