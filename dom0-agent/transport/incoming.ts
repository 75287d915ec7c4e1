// The receiver's side of the stream as chunks in order, with a bounded read-ahead: what nobody has asked for stays in
// the pipe, and so holds up the one who sends it.

import type { Readable } from "node:stream";

/** Bytes that may wait here for the consumer, up to one read of the pipe (64 KiB) more. */
const readAheadBytes = 256 * 1024;

export interface Incoming {
  /** For one consumer. Ends where the stream does; throws what `fail` was given. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** True once a byte has come. */
  readonly heard: boolean;
  /** From now on everything that comes is thrown away, and the consumer gets `reason`. */
  fail(reason: Error): void;
}

export function incoming(stream: Readable): Incoming {
  const queue: Uint8Array[] = [];
  let queued = 0;
  let heard = false;
  let ended = false;
  let failure: Error | undefined;
  let wake = (): void => {};

  stream.on("data", (chunk: Uint8Array) => {
    heard = true;
    if (failure !== undefined) return;
    queue.push(chunk);
    queued += chunk.length;
    if (queued >= readAheadBytes) stream.pause();
    wake();
  });
  stream.on("error", (error) => {
    failure ??= error;
    wake();
  });
  stream.on("close", () => {
    ended = true;
    wake();
  });
  stream.on("end", () => {
    ended = true;
    wake();
  });

  async function* chunks(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      if (failure !== undefined) throw failure;
      const chunk = queue.shift();
      if (chunk !== undefined) {
        queued -= chunk.length;
        if (queued < readAheadBytes) stream.resume();
        yield chunk;
      } else if (ended) return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }

  return {
    chunks: chunks(),
    get heard() {
      return heard;
    },
    fail: (reason) => {
      failure ??= reason;
      queue.length = 0;
      stream.resume();
      wake();
    },
  };
}
