// How golden vectors are laid out, byte by byte, from docs/protocol.md and docs/archive-format.md. Nothing of protocol/
// is imported here, so that the vectors pin the documents and not what the encoders happen to do.

import { createHash, createHmac } from "node:crypto";

/** A stretch of bytes and what it is, for the remark behind its line. */
export type Field = readonly [label: string, bytes: Buffer];

export interface Case {
  /** Path below protocol/vectors, without `.txt`. */
  readonly file: string;
  /** What is to be read: `message put`, `structure head`, … */
  readonly reads: string;
  readonly expected: string;
  readonly comment: string;
  /** What a reader has to be told: lines of their own in the file. */
  readonly given?: Readonly<Record<string, string | number>>;
  /** What an accepted case means: JSON, byte arrays as hexadecimal. */
  readonly value?: Readonly<Record<string, unknown>>;
  readonly fields: readonly Field[];
}

export const u8 = (label: string, value: number): Field => [label, Buffer.from([value])];
export const u16 = (label: string, value: number): Field => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return [label, bytes];
};
export const u32 = (label: string, value: number): Field => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return [label, bytes];
};
export const u64 = (label: string, value: number | bigint): Field => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return [label, bytes];
};
export const raw = (label: string, hex: string): Field => [label, Buffer.from(hex, "hex")];
export const zeros = (label: string, count: number): Field => [label, Buffer.alloc(count)];
/** u16 length and UTF-8. */
export const text = (label: string, value: string): Field[] => [
  u16(`${label}: length`, Buffer.byteLength(value)),
  [label, Buffer.from(value)],
];

export const join = (fields: readonly Field[]): Buffer => Buffer.concat(fields.map(([, bytes]) => bytes));
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** RFC 5869 by hand, one block of output. */
export function hkdf(key: Buffer, salt: Buffer, info: Buffer): Buffer {
  const extracted = createHmac("sha256", salt).update(key).digest();
  return createHmac("sha256", extracted)
    .update(Buffer.concat([info, Buffer.from([1])]))
    .digest();
}

const counting = (from: number, count: number): string =>
  Buffer.from(Array.from({ length: count }, (_, i) => from + i)).toString("hex");

export type Given = Readonly<Record<string, string | number>>;
type Accept = (
  why: string,
  comment: string,
  fields: readonly Field[],
  value: Readonly<Record<string, unknown>>,
  given?: Given,
) => Case;
type Reject = (
  why: string,
  expected: string,
  comment: string,
  fields: readonly Field[],
  given?: Given,
) => Case;

/** Makes cases of a structure that are accepted. */
export const accept =
  (structure: string): Accept =>
  (why, comment, fields, value, given = {}) => ({
    file: `${structure}/${why}`,
    reads: `structure ${structure}`,
    expected: "ok",
    comment,
    given,
    value,
    fields,
  });
/** Makes cases of a structure that are refused. */
export const reject =
  (structure: string): Reject =>
  (why, expected, comment, fields, given = {}) => ({
    file: `${structure}/${why}`,
    reads: `structure ${structure}`,
    expected,
    comment,
    given,
    fields,
  });

/** A case of a structure, accepted or refused. */
export const structureCase = (
  structure: string,
  why: string,
  expected: string,
  comment: string,
  fields: readonly Field[],
  value?: Readonly<Record<string, unknown>>,
  given: Given = {},
): Case =>
  value === undefined
    ? reject(structure)(why, expected, comment, fields, given)
    : accept(structure)(why, comment, fields, value, given);

/** When things were made, in milliseconds, and the first millisecond that no time may have. */
export const takenAt: number = Date.UTC(2026, 10, 23, 10, 15, 0);
export const afterMaxTime: number = Date.UTC(9999, 11, 31, 23, 59, 59, 999) + 1;

/** Identities that all vectors share. */
export const ids: Readonly<
  Record<"archive" | "volume" | "session" | "otherSession" | "group" | "none" | "noDigest", string>
> = {
  archive: counting(0xa0, 16),
  volume: counting(0xb0, 16),
  session: counting(0xc0, 16),
  otherSession: counting(0xd0, 16),
  group: counting(0xe0, 16),
  none: "00".repeat(16),
  noDigest: "00".repeat(32),
};
/** A digest that is recognised in a dump. */
export const digestOf = (byte: string): string => byte.repeat(32);

export interface PrefixFields {
  readonly magic?: string;
  readonly version?: number;
  readonly kind: number;
  readonly protection?: number;
  readonly archive?: string;
  readonly volume?: string;
  readonly generation: number | bigint;
  readonly salt?: string;
}

/** F: the 70 bytes that every file begins with. */
export function prefix(of: PrefixFields): Field[] {
  return [
    raw("magic SPRSBK CR LF", of.magic ?? "53505253424b0d0a"),
    u16("version", of.version ?? 1),
    u16("kind", of.kind),
    u16("protection", of.protection ?? 0),
    raw("archive", of.archive ?? ids.archive),
    raw("volume", of.volume ?? ids.volume),
    u64("generation", of.generation),
    raw("salt", of.salt ?? ids.none),
  ];
}

/** Closes a file with the SHA-256 of all before. */
export function closed(fields: readonly Field[]): Field[] {
  return [...fields, raw("SHA-256 of all before", sha256(join(fields)))];
}

/** A frame: its header and a body. `length` is given where it lies. */
export function frame(
  code: number,
  id: number,
  body: readonly Field[],
  wrong: { readonly flags?: number; readonly length?: number } = {},
): Field[] {
  return [
    u16("type", code),
    u16("flags", wrong.flags ?? 0),
    u32("request id", id),
    u32("length", wrong.length ?? join(body).length),
    ...body,
  ];
}

/** An accepted case of a message. */
export const okMessage = (
  message: string,
  code: number,
  id: number,
  comment: string,
  body: readonly Field[],
  value: Readonly<Record<string, unknown>>,
  suffix = "ok",
): Case => ({
  file: `messages/${message}-${suffix}`,
  reads: `message ${message}`,
  expected: "ok",
  comment,
  value: { id, ...value },
  fields: frame(code, id, body),
});

/** A refused case of a message. */
export const badMessage = (
  message: string,
  code: number,
  why: string,
  expected: string,
  comment: string,
  body: readonly Field[],
  wrong: { readonly flags?: number; readonly length?: number } = {},
): Case => ({
  file: `messages/${message}-${why}`,
  reads: `message ${message}`,
  expected,
  comment,
  fields: frame(code, 7, body, wrong),
});

/** The text of a vector's file. */
export function render(each: Case): string {
  const [, kind = "", what = ""] = /^(\w+) (.+)$/.exec(each.reads) ?? [];
  const lines = [
    `name: ${each.file.replaceAll("/", " ")}`,
    `${kind}: ${what}`,
    `expected: ${each.expected}`,
    `comment: ${each.comment}`,
    ...Object.entries(each.given ?? {}).map(([key, value]) => `given.${key}: ${value}`),
    ...Object.entries(each.value ?? {}).map(([key, value]) => `value.${key}: ${JSON.stringify(value)}`),
    "",
    ...each.fields.flatMap(([label, bytes]) => hexLines(bytes, label)),
  ];
  return `${lines.join("\n")}\n`;
}

function hexLines(bytes: Buffer, label: string): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 32) {
    const hex = bytes.subarray(at, at + 32).toString("hex");
    lines.push(at === 0 ? `${hex} # ${label}` : hex);
  }
  return lines;
}
