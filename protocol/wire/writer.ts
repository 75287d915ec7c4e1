// Puts values one after another into a growing array: fixed width, big-endian, as every structure of the wire and
// of the archive wants them.

import { InternalError } from "../errors.ts";

const textEncoder = new TextEncoder();

export interface ByteWriter {
  u8(value: number): void;
  u16(value: number): void;
  u32(value: number): void;
  /** An integer from 0 to 2^53−1 in eight bytes. */
  u64(value: number): void;
  bytes(value: Uint8Array): void;
  /** The bytes written so far: a view that the next write may invalidate. */
  done(): Uint8Array;
}

/** A writer that starts with room for `capacity` bytes and doubles it when it must. */
export function byteWriter(capacity = 256): ByteWriter {
  let buffer = new Uint8Array(capacity);
  let view = new DataView(buffer.buffer);
  let at = 0;

  const reserve = (count: number): number => {
    if (at + count > buffer.length) {
      const larger = new Uint8Array(Math.max(buffer.length * 2, at + count));
      larger.set(buffer.subarray(0, at));
      buffer = larger;
      view = new DataView(buffer.buffer);
    }
    const start = at;
    at += count;
    return start;
  };
  const integer = (value: number, max: number): number => {
    if (!Number.isSafeInteger(value) || value < 0 || value > max) {
      throw new InternalError(`encode an integer: found ${value}, wanted 0 to ${max}`);
    }
    return value;
  };

  // Room is made in a statement of its own: it may replace buffer and view.
  return {
    u8: (value) => {
      const start = reserve(1);
      view.setUint8(start, integer(value, 0xff));
    },
    u16: (value) => {
      const start = reserve(2);
      view.setUint16(start, integer(value, 0xffff));
    },
    u32: (value) => {
      const start = reserve(4);
      view.setUint32(start, integer(value, 0xffff_ffff));
    },
    u64: (value) => {
      integer(value, Number.MAX_SAFE_INTEGER);
      const start = reserve(8);
      view.setUint32(start, Math.floor(value / 2 ** 32));
      view.setUint32(start + 4, value % 2 ** 32);
    },
    bytes: (value) => {
      const start = reserve(value.length);
      buffer.set(value, start);
    },
    done: () => buffer.subarray(0, at),
  };
}

/** The UTF-8 bytes of `text`. */
export function utf8(text: string): Uint8Array {
  return textEncoder.encode(text);
}
