// Frames: how messages follow one another on the stream. Each begins with twelve bytes:
//
//   type u16 | flags u16 (zero) | request id u32 | length u32 | body
//
// The length is checked against the type's bound before a byte of the body is kept. In front of the first frame
// each side sends a preamble: 12 magic bytes, wire version u16, two zero bytes. dom0 skips at most 64 KiB of
// what a login shell may have printed before the receiver's (design section 6).

import { FormatError } from "../errors.ts";
import { wireVersion } from "../version.ts";
import { encode } from "./codec.ts";
import { type MessageName, messageByCode, type Messages, messages, type Sender } from "./messages.ts";
import { byteReader } from "./reader.ts";

export const frameHeaderBytes = 12;

/** One message off the wire. `body` values that are byte arrays may be views into the stream's buffer: copy what
 *  must outlive the next call. */
export type Frame = { [Name in MessageName]: { readonly type: Name; readonly id: number; readonly body: Messages[Name] } }[MessageName];

/** The frame's bytes. */
export function encodeFrame<Name extends MessageName>(type: Name, id: number, body: Messages[Name]): Uint8Array {
  const bytes = encode(messages[type].codec, body);
  const frame = new Uint8Array(frameHeaderBytes + bytes.length);
  writeFrameHeader(frame, 0, type, id, bytes.length);
  frame.set(bytes, frameHeaderBytes);
  return frame;
}

/** Writes the twelve bytes before a body of `length` bytes at `at`, for senders that lay out the body in place. */
export function writeFrameHeader(target: Uint8Array, at: number, type: MessageName, id: number, length: number): void {
  const row = messages[type];
  if (length > row.max) throw new FormatError("too-long", `send ${type}: ${length} bytes, at most ${row.max} allowed`);
  const view = new DataView(target.buffer, target.byteOffset + at, frameHeaderBytes);
  view.setUint16(0, row.code);
  view.setUint16(2, 0);
  view.setUint32(4, id);
  view.setUint32(8, length);
}

const magic = Uint8Array.from([0x00, 0xff, 0x53, 0x50, 0x41, 0x52, 0x53, 0x45, 0x42, 0x41, 0x4b, 0x0a]); // \0\xffSPARSEBAK\n
export const preambleBytes: number = magic.length + 4;
/** Bytes that may stand before the preamble where noise is allowed. */
export const maxNoiseBytes: number = 64 * 1024;

/** The sixteen bytes that each side sends first. */
export function encodePreamble(): Uint8Array {
  const bytes = new Uint8Array(preambleBytes);
  bytes.set(magic);
  new DataView(bytes.buffer).setUint16(magic.length, wireVersion);
  return bytes;
}

export interface FrameDecoder {
  /** Takes the next bytes of the stream, of any length, and gives the frames that they complete. Bytes that belong
   *  to an unfinished frame are copied, the rest is only viewed. Throws FormatError, and then for ever. */
  push(untrusted: Uint8Array): Generator<Frame, void, void>;
  /** Call at the end of the stream: throws `truncated` when it ended inside the preamble or a frame. */
  end(): void;
}

/**
 * A decoder of what `from` says. `noise` is the number of bytes that may precede the preamble. Buffers at most one
 * frame: the largest that its type allows.
 */
export function frameDecoder(from: Sender, noise = 0): FrameDecoder {
  let buffer = new Uint8Array(64 * 1024);
  let held = 0;
  let greeted = false;
  let noiseLeft = noise;
  let failure: FormatError | undefined;

  const keep = (bytes: Uint8Array): void => {
    if (held + bytes.length > buffer.length) {
      const larger = new Uint8Array(Math.max(held + bytes.length, buffer.length * 2));
      larger.set(buffer.subarray(0, held));
      buffer = larger;
    }
    buffer.set(bytes, held);
    held += bytes.length;
  };

  /** Looks for the preamble in what is held; gives how many bytes it took, 0 when more are needed. */
  const greet = (bytes: Uint8Array): number => {
    const start = indexOf(bytes, magic);
    if (start < 0) {
      if (bytes.length - (magic.length - 1) > noiseLeft) {
        throw new FormatError("bad-magic", "read preamble: the other side is not sparsebak");
      }
      return 0;
    }
    if (start > noiseLeft) throw new FormatError("bad-magic", "read preamble: too much came before it");
    if (bytes.length < start + preambleBytes) return 0;
    const view = new DataView(bytes.buffer, bytes.byteOffset + start + magic.length, 4);
    const version = view.getUint16(0);
    if (version !== wireVersion) {
      throw new FormatError("bad-version", `read preamble: the other side speaks version ${version}, wanted ${wireVersion}`);
    }
    if (view.getUint16(2) !== 0) throw new FormatError("bad-value", "read preamble: reserved bytes are set");
    return start + preambleBytes;
  };

  function* frames(untrusted: Uint8Array): Generator<Frame, void, void> {
    let bytes = untrusted;
    if (held > 0) {
      // Complete the held frame first, then go on in the caller's buffer without copying.
      if (greeted) {
        const wanted = held < frameHeaderBytes ? frameHeaderBytes : frameHeaderBytes + checkHeader(buffer, from).length;
        const take = Math.min(bytes.length, wanted - held);
        keep(bytes.subarray(0, take));
        bytes = bytes.subarray(take);
        if (held === frameHeaderBytes && wanted === frameHeaderBytes) {
          const { length } = checkHeader(buffer, from);
          const more = Math.min(bytes.length, length);
          keep(bytes.subarray(0, more));
          bytes = bytes.subarray(more);
        }
        if (held < frameHeaderBytes || held < frameHeaderBytes + checkHeader(buffer, from).length) return;
        const whole = buffer.subarray(0, held);
        held = 0;
        yield decodeFrame(whole, from);
      } else {
        keep(bytes);
        bytes = buffer.slice(0, held);
        held = 0;
      }
    }
    if (!greeted) {
      const took = greet(bytes);
      if (took === 0) {
        keep(bytes);
        return;
      }
      greeted = true;
      noiseLeft = 0;
      bytes = bytes.subarray(took);
    }
    while (bytes.length >= frameHeaderBytes) {
      const end = frameHeaderBytes + checkHeader(bytes, from).length;
      if (bytes.length < end) break;
      const frame = decodeFrame(bytes.subarray(0, end), from);
      bytes = bytes.subarray(end);
      yield frame;
    }
    keep(bytes);
  }

  return {
    push: function* (untrusted) {
      if (failure !== undefined) throw failure;
      try {
        yield* frames(untrusted);
      } catch (error) {
        if (error instanceof FormatError) failure = error;
        throw error;
      }
    },
    end: () => {
      if (failure !== undefined) throw failure;
      if (!greeted) throw new FormatError("truncated", "read preamble: the other side ended before it");
      if (held > 0) throw new FormatError("truncated", `read frame: the stream ended inside one, after ${held} bytes`);
    },
  };
}

function checkHeader(bytes: Uint8Array, from: Sender): { readonly type: MessageName; readonly id: number; readonly length: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, frameHeaderBytes);
  const code = view.getUint16(0);
  const type = messageByCode(code);
  if (type === undefined || messages[type].from !== from) {
    throw new FormatError("bad-value", `read frame: found type ${code}, which the ${from} does not send`);
  }
  if (view.getUint16(2) !== 0) throw new FormatError("bad-value", `read frame ${type}: unknown flags`);
  const length = view.getUint32(8);
  if (length > messages[type].max) {
    throw new FormatError("too-long", `read frame ${type}: ${length} bytes, at most ${messages[type].max} allowed`);
  }
  return { type, id: view.getUint32(4), length };
}

function decodeFrame(bytes: Uint8Array, from: Sender): Frame {
  const { type, id } = checkHeader(bytes, from);
  const reader = byteReader(bytes.subarray(frameHeaderBytes), type);
  const body = messages[type].codec.read(reader, type);
  reader.end();
  return { type, id, body } as Frame;
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  const first = wanted[0] ?? 0;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (at + wanted.length > bytes.length) return -1;
    let same = 0;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same++;
    if (same === wanted.length) return at;
  }
  return -1;
}
