// A receiver in memory, for what the agent's end of the dialogue does with answers that no program gives.

import type { Transport } from "../../dom0-agent/transport/transport.ts";
import type { ArchiveUuid, Digest, Generation } from "../../protocol/archive/types.ts";
import { encodeFrame, encodePreamble, type Frame, frameDecoder } from "../../protocol/wire/frame.ts";
import type { ReceiverHello } from "../../protocol/wire/messages.ts";

export interface MemoryReceiver extends Transport {
  /** How many pieces the agent has taken. */
  readonly taken: () => number;
  /** Says bytes, each array as a piece of its own. */
  readonly say: (...pieces: readonly Uint8Array[]) => void;
  /** Ends the stream. */
  readonly stop: () => void;
}

/** A hello of a destination that has no archive. */
export const emptyHello: ReceiverHello = {
  capabilities: 0,
  archive: new Uint8Array(16) as ArchiveUuid,
  generation: 0 as Generation,
  headDigest: new Uint8Array(32) as Digest,
  freeBytes: 0,
  totalBytes: 0,
  freeInodes: 0,
  totalInodes: 0,
};

/** Greets, and says what `answer` gives for each later frame of the agent. */
export function polite(answer: (asked: Frame) => Iterable<Uint8Array>): MemoryReceiver {
  return memoryReceiver((frame) =>
    frame.type === "agentHello"
      ? [encodePreamble(), encodeFrame("receiverHello", frame.id, emptyHello)]
      : answer(frame),
  );
}

/** `answer` gives the pieces that are said at each frame of the agent. */
export function memoryReceiver(answer: (asked: Frame) => Iterable<Uint8Array>): MemoryReceiver {
  let taken = 0;
  const queue: Uint8Array[] = [];
  let wake: () => void = () => undefined;
  let ended = false;
  let over: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => (over = resolve));
  const say = (...pieces: readonly Uint8Array[]): void => {
    queue.push(...pieces);
    wake();
  };
  const stop = (): void => {
    ended = true;
    wake();
    over();
  };
  const decoder = frameDecoder("agent");
  return {
    name: "a receiver",
    taken: () => taken,
    say,
    stop,
    open: async () => ({
      incoming: (async function* () {
        for (;;) {
          const next = queue.shift();
          if (next !== undefined) {
            taken++;
            yield next;
          } else if (ended) return;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      })(),
      write: async (bytes) => {
        for (const frame of decoder.push(bytes)) say(...answer(structuredClone(frame)));
      },
      flushed: async () => undefined,
      end: async () => stop(),
      abort: stop,
      ended: gone.then(() => ({
        exitCode: 0,
        signal: undefined,
        stderr: "",
        meaning: undefined,
        unreachable: false,
      })),
      [Symbol.asyncDispose]: async () => stop(),
    }),
  };
}
