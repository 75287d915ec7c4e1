// Small codecs that are put together into the structures of the wire and of the archive. A codec writes and reads
// the same bytes; both directions check every value, so that what one side cannot say the other cannot hear.

import { FormatError } from "../errors.ts";
import { type ByteReader, byteReader } from "./reader.ts";
import { type ByteWriter, byteWriter, utf8 } from "./writer.ts";

export interface Codec<T> {
  /** Appends `value`; throws FormatError `bad-value` or `too-long` when the format cannot hold it. */
  write(writer: ByteWriter, value: T): void;
  /** Takes one value; throws FormatError. `what` is the field's name, for messages. */
  read(reader: ByteReader, what: string): T;
}

export const u8: Codec<number> = { write: (w, v) => w.u8(v), read: (r) => r.u8() };
export const u16: Codec<number> = { write: (w, v) => w.u16(v), read: (r) => r.u16() };
export const u32: Codec<number> = { write: (w, v) => w.u32(v), read: (r) => r.u32() };
export const u64: Codec<number> = { write: (w, v) => w.u64(v), read: (r) => r.u64() };

export const bool: Codec<boolean> = {
  write: (w, v) => w.u8(v ? 1 : 0),
  read: (r, what) => {
    const value = r.u8();
    if (value > 1) throw new FormatError("bad-value", `read ${what}: found ${value}, wanted 0 or 1`);
    return value === 1;
  },
};

/** Exactly `length` bytes. What is read is a copy, so that it may outlive the frame it came in. */
export function fixedBytes<T extends Uint8Array>(length: number): Codec<T> {
  return {
    write: (w, v) => {
      if (v.length !== length) throw new FormatError("bad-value", `${v.length} bytes, wanted ${length}`);
      w.bytes(v);
    },
    read: (r) => r.bytes(length).slice() as T,
  };
}

/** A u32 length and at most `max` bytes. What is read is a view into the frame. */
export function blob(max: number): Codec<Uint8Array> {
  return {
    write: (w, v) => {
      if (v.length > max) throw new FormatError("too-long", `${v.length} bytes, at most ${max} allowed`);
      w.u32(v.length);
      w.bytes(v);
    },
    read: (r, what) => {
      const length = r.u32();
      if (length > max)
        throw new FormatError("too-long", `read ${what}: ${length} bytes, at most ${max} allowed`);
      return r.bytes(length);
    },
  };
}

/** Everything up to the end of the structure, at most `max` bytes: the last field of a data frame. A view. */
export function rest(max: number): Codec<Uint8Array> {
  return {
    write: (w, v) => {
      if (v.length > max) throw new FormatError("too-long", `${v.length} bytes, at most ${max} allowed`);
      w.bytes(v);
    },
    read: (r, what) => {
      if (r.left() > max)
        throw new FormatError("too-long", `read ${what}: ${r.left()} bytes, at most ${max} allowed`);
      return r.bytes(r.left());
    },
  };
}

/** UTF-8 text of at most `maxBytes` behind a u16 length, and of the form that `pattern` asks for, if given. */
export function text<T extends string = string>(maxBytes: number, pattern?: RegExp): Codec<T> {
  const check = (value: string, what: string): void => {
    if (pattern !== undefined && !pattern.test(value)) {
      throw new FormatError("bad-value", `${what}: text of a form that is not allowed here`);
    }
  };
  return {
    write: (w, v) => {
      if (!v.isWellFormed())
        throw new FormatError("bad-value", "write text: half a character, which UTF-8 can't hold");
      const raw = utf8(v);
      if (raw.length > maxBytes)
        throw new FormatError("too-long", `text of ${raw.length} bytes, at most ${maxBytes}`);
      check(v, "write text");
      w.u16(raw.length);
      w.bytes(raw);
    },
    read: (r, what) => {
      const length = r.u16();
      if (length > maxBytes)
        throw new FormatError("too-long", `read ${what}: ${length} bytes, at most ${maxBytes}`);
      const value = r.text(length);
      check(value, `read ${what}`);
      return value as T;
    },
  };
}

/** One of a table's numbers, shown to the program under its name. */
export function oneOf<const Table extends Record<string, number>>(
  table: Table,
  width: Codec<number> = u8,
): Codec<keyof Table & string> {
  const byNumber = new Map(Object.entries(table).map(([name, number]) => [number, name]));
  return {
    write: (w, v) => {
      const number = table[v];
      if (number === undefined)
        throw new FormatError("bad-value", `write a name that is not in the table: ${v}`);
      width.write(w, number);
    },
    read: (r, what) => {
      const number = width.read(r, what);
      const name = byNumber.get(number);
      if (name === undefined)
        throw new FormatError("bad-value", `read ${what}: found ${number}, which has no meaning`);
      return name;
    },
  };
}

/** A u32 count and at most `max` items. The count is believed item by item, never as an allocation. */
export function list<T>(item: Codec<T>, max: number): Codec<readonly T[]> {
  return {
    write: (w, v) => {
      if (v.length > max) throw new FormatError("too-long", `${v.length} items, at most ${max} allowed`);
      w.u32(v.length);
      for (const each of v) item.write(w, each);
    },
    read: (r, what) => {
      const count = r.u32();
      if (count > max)
        throw new FormatError("too-long", `read ${what}: ${count} items, at most ${max} allowed`);
      const items: T[] = [];
      for (let i = 0; i < count; i++) items.push(item.read(r, what));
      return items;
    },
  };
}

/** `base`, but only values that `allowed` lets through, in either direction. `rule` says which, for the message. */
export function only<T>(base: Codec<T>, allowed: (value: T) => boolean, rule: string): Codec<T> {
  const check = (value: T, what: string): T => {
    if (!allowed(value))
      throw new FormatError("bad-value", `${what}: found ${String(value)}, wanted ${rule}`);
    return value;
  };
  return {
    write: (w, v) => base.write(w, check(v, "write")),
    read: (r, what) => check(base.read(r, what), `read ${what}`),
  };
}

/** Fields one after another, in the order of the object literal. */
export function struct<T extends object>(fields: { readonly [K in keyof T]-?: Codec<T[K]> }): Codec<T> {
  const entries = Object.entries(fields) as [keyof T & string, Codec<T[keyof T]>][];
  return {
    write: (w, v) => {
      for (const [name, codec] of entries) codec.write(w, v[name]);
    },
    read: (r, what) => {
      const value: { [K in keyof T]?: T[keyof T] } = {};
      for (const [name, codec] of entries) value[name] = codec.read(r, `${what}.${name}`);
      return value as T;
    },
  };
}

/** The bytes of one value, in an array of their own. */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const writer = byteWriter();
  codec.write(writer, value);
  return writer.done().slice();
}

/** The value that `untrusted` holds, all of it and nothing more; throws FormatError. */
export function decode<T>(codec: Codec<T>, untrusted: Uint8Array, what: string): T {
  const reader = byteReader(untrusted, what);
  const value = codec.read(reader, what);
  reader.end();
  return value;
}
