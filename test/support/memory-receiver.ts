// A receiver in memory, that answers what it is asked as it likes, and a client that talks to it.

import { type Client, connect } from "../../dom0-agent/session/client.ts";
import type { Transport } from "../../dom0-agent/transport/transport.ts";
import type { ArchiveUuid, Digest, Generation } from "../../protocol/archive/types.ts";
import type { Service } from "../../protocol/wire/messages.ts";
import { encodeFrame, encodePreamble, type Frame, frameDecoder } from "../../protocol/wire/frame.ts";

export interface MemoryReceiver extends Transport {
  /** Frames that the client has taken. */
  readonly taken: () => number;
}

/** Greets by itself; `heard` gets every other frame, and a way to answer it with frames, each sent by itself. */
export function memoryReceiver(
  heard: (asked: Frame, say: (...frames: readonly Uint8Array[]) => void) => void,
): MemoryReceiver {
  let taken = 0;
  const queue: Uint8Array[] = [];
  let wake: () => void = () => undefined;
  let ended = false;
  let over: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => (over = resolve));
  const say = (...frames: readonly Uint8Array[]): void => {
    queue.push(...frames);
    wake();
  };
  const stop = (): void => {
    ended = true;
    wake();
    over();
  };
  const decoder = frameDecoder("agent");
  const take = (frame: Frame): void => {
    if (frame.type === "agentHello") {
      const hello = {
        capabilities: 0,
        archive: new Uint8Array(16) as ArchiveUuid,
        generation: 0 as Generation,
        headDigest: new Uint8Array(32) as Digest,
        freeBytes: 0,
        totalBytes: 0,
        freeInodes: 0,
        totalInodes: 0,
      };
      say(encodePreamble(), encodeFrame("receiverHello", frame.id, hello));
    } else heard(structuredClone(frame), say);
  };
  return {
    name: "a receiver",
    taken: () => taken,
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
        for (const frame of decoder.push(bytes)) take(frame);
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

/** A client of `transport` that gives up after so many seconds without progress. */
export async function memoryClient(
  transport: Transport,
  service: Service,
  stallSeconds: number,
): Promise<Client> {
  return connect({
    transport,
    service,
    where: { mountpoint: "/mnt", directory: "d", archive: new Uint8Array(16) as ArchiveUuid },
    stallSeconds,
    signal: new AbortController().signal,
  });
}
