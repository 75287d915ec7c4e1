// Runs a stream through the frame decoder in pieces, and makes one of frames.

import { encodeFrame, type Frame, frameDecoder } from "../../protocol/wire/frame.ts";
import type { Sender } from "../../protocol/wire/messages.ts";

/** The frames of a whole stream, which comes in the pieces that `cuts` makes: offsets in rising order. Each frame is
 *  copied when it comes, as users of the decoder must. */
export function framesOf(stream: Uint8Array, from: Sender, noise = 0, cuts: readonly number[] = []): Frame[] {
  const decoder = frameDecoder(from, noise);
  const frames: Frame[] = [];
  let at = 0;
  for (const cut of [...cuts, stream.length]) {
    // A piece of its own memory, as pipes give it: nothing may be read beyond it.
    for (const frame of decoder.push(stream.slice(at, cut))) frames.push(structuredClone(frame));
    at = cut;
  }
  decoder.end();
  return frames;
}

/** Offsets of every byte. */
export function everyByte(stream: Uint8Array): number[] {
  return Array.from({ length: stream.length }, (_, i) => i + 1);
}

/** The frame as bytes again. */
export function bytesOf(frame: Frame): Uint8Array {
  return encodeFrame(frame.type, frame.id, frame.body);
}
