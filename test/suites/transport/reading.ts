// Reading from connections, and writing to them.

import type { Connection } from "../../../dom0-agent/transport/transport.ts";
import { frameDecoder, maxNoiseBytes } from "../../../protocol/wire/frame.ts";

/** Bytes that differ from place to place and from seed to seed. */
export function patterned(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, state = seed + 1; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

export async function readAll(connection: Connection): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const bytes of connection.incoming) parts.push(Buffer.from(bytes));
  return Buffer.concat(parts);
}

export async function framesOf(connection: Connection): Promise<unknown[]> {
  const decoder = frameDecoder("receiver", maxNoiseBytes);
  const frames: unknown[] = [];
  for await (const bytes of connection.incoming) for (const frame of decoder.push(bytes)) frames.push(frame);
  decoder.end();
  return frames;
}

export async function writeForEver(connection: Connection): Promise<never> {
  const bytes = patterned(128 * 1024, 6);
  for (;;) await connection.write(bytes);
}

export async function failureOf(step: Promise<unknown>): Promise<unknown> {
  return step.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: unknown) => error,
  );
}
