// Frames: how messages follow one another on the stream. Each begins with twelve bytes:
//
//   type u16 | flags u16 (zero) | request id u32 | length u32 | body
//
// The length is checked against the type's bound before a byte of the body is kept. In front of the first frame
// each side sends a preamble (preamble.ts). Design section 6; docs/protocol.md, "Frames".

import { FormatError, InternalError } from "../errors.ts";
import { encode } from "./codec.ts";
import { type MessageName, messageByCode, type Messages, messages, type Sender } from "./messages.ts";
import { preambleFinder } from "./preamble.ts";
import { byteReader } from "./reader.ts";

export { encodePreamble, maxNoiseBytes, preambleBytes } from "./preamble.ts";

export const frameHeaderBytes = 12;

/** One message off the wire. `body` values that are byte arrays may be views into the stream's buffer or the
 *  decoder's: they hold until the next push, so copy what must outlive it. */
export type Frame = {
  [Name in MessageName]: { readonly type: Name; readonly id: number; readonly body: Messages[Name] };
}[MessageName];

/** The frame's bytes. */
export function encodeFrame<Name extends MessageName>(
  type: Name,
  id: number,
  body: Messages[Name],
): Uint8Array {
  const bytes = encode(messages[type].codec, body);
  const frame = new Uint8Array(frameHeaderBytes + bytes.length);
  writeFrameHeader(frame, 0, type, id, bytes.length);
  frame.set(bytes, frameHeaderBytes);
  return frame;
}

/** Writes the twelve bytes before a body of `length` bytes at `at`, for senders that lay out the body in place. */
export function writeFrameHeader(
  target: Uint8Array,
  at: number,
  type: MessageName,
  id: number,
  length: number,
): void {
  const row = messages[type];
  if (length > row.max)
    throw new FormatError("too-long", `send ${type}: ${length} bytes, at most ${row.max} allowed`);
  if (id !== id >>> 0) throw new InternalError(`send ${type}: request id ${id}, wanted 0 to 2^32-1`);
  const view = new DataView(target.buffer, target.byteOffset + at, frameHeaderBytes);
  view.setUint16(0, row.code);
  view.setUint16(2, 0);
  view.setUint32(4, id);
  view.setUint32(8, length);
}

export interface FrameDecoder {
  /**
   * Takes the next bytes of the stream, of any length, and gives the frames that they complete. Bytes that belong to
   * an unfinished frame are copied, the rest is only viewed. All frames must be taken before the next push. Throws
   * FormatError, and then for ever; InternalError where frames of the push before were left untaken.
   */
  push(untrusted: Uint8Array): Generator<Frame, void, void>;
  /** Call at the end of the stream: throws `truncated` when it ended inside the preamble or a frame. */
  end(): void;
}

/**
 * A decoder of what `from` says. `noise` is the number of bytes that may precede the preamble. Holds at most two
 * frames, each at most as large as its type allows: the one that comes in, and the one that was last given.
 */
export function frameDecoder(from: Sender, noise = 0): FrameDecoder {
  const preamble = preambleFinder(noise);
  let buffer = new Uint8Array(0);
  /** Was given away with a frame's views in it; the next unfinished frame goes there, one push later. */
  let spare = new Uint8Array(0);
  let held = 0;
  let busy = false;
  let failure: FormatError | undefined;

  /** Holds bytes until there are `wanted` of them; gives those that were not needed. */
  const hold = (bytes: Uint8Array, wanted: number): Uint8Array => {
    const count = Math.min(bytes.length, wanted - held);
    if (wanted > buffer.length) {
      const larger = new Uint8Array(Math.max(wanted, 64 * 1024));
      larger.set(buffer.subarray(0, held));
      buffer = larger;
    }
    buffer.set(bytes.subarray(0, count), held);
    held += count;
    return bytes.subarray(count);
  };

  function* frames(untrusted: Uint8Array): Generator<Frame, void, void> {
    let bytes = preamble.found ? untrusted : untrusted.subarray(preamble.take(untrusted));
    if (held > 0) {
      // Complete the held frame first, then go on in the caller's buffer without copying.
      bytes = hold(bytes, Math.max(held, frameHeaderBytes));
      if (held < frameHeaderBytes) return;
      const header = readHeader(buffer, from);
      bytes = hold(bytes, header.end);
      if (held < header.end) return;
      const whole = buffer.subarray(0, held);
      [buffer, spare] = [spare, buffer];
      held = 0;
      yield decodeFrame(whole, header);
    }
    while (bytes.length >= frameHeaderBytes) {
      const header = readHeader(bytes, from);
      if (bytes.length < header.end) {
        hold(bytes, header.end);
        return;
      }
      const frame = decodeFrame(bytes.subarray(0, header.end), header);
      bytes = bytes.subarray(header.end);
      yield frame;
    }
    if (bytes.length > 0) hold(bytes, frameHeaderBytes);
  }

  const checkIdle = (): void => {
    if (failure !== undefined) throw failure;
    if (busy) throw new InternalError("read frame: frames of the push before were not all taken");
  };

  return {
    push: function* (untrusted) {
      checkIdle();
      busy = true;
      try {
        yield* frames(untrusted);
        busy = false;
      } catch (error) {
        if (error instanceof FormatError) failure = error;
        throw error;
      }
    },
    end: () => {
      checkIdle();
      if (!preamble.found)
        throw new FormatError("truncated", "read preamble: the other side ended before it");
      if (held > 0)
        throw new FormatError("truncated", `read frame: the stream ended inside one, after ${held} bytes`);
    },
  };
}

interface FrameHeader {
  readonly type: MessageName;
  readonly id: number;
  /** Bytes of the whole frame. */
  readonly end: number;
}

function readHeader(untrusted: Uint8Array, from: Sender): FrameHeader {
  const view = new DataView(untrusted.buffer, untrusted.byteOffset, frameHeaderBytes);
  const code = view.getUint16(0);
  const type = messageByCode(code);
  if (type === undefined || messages[type].from !== from) {
    throw new FormatError("bad-value", `read frame: found type ${code}, which the ${from} does not send`);
  }
  if (view.getUint16(2) !== 0) throw new FormatError("bad-value", `read frame ${type}: unknown flags`);
  const length = view.getUint32(8);
  if (length > messages[type].max) {
    throw new FormatError(
      "too-long",
      `read frame ${type}: ${length} bytes, at most ${messages[type].max} allowed`,
    );
  }
  return { type, id: view.getUint32(4), end: frameHeaderBytes + length };
}

function decodeFrame(untrusted: Uint8Array, { type, id }: FrameHeader): Frame {
  const reader = byteReader(untrusted.subarray(frameHeaderBytes), type);
  const body = messages[type].codec.read(reader, type);
  reader.end();
  return { type, id, body } as Frame;
}
