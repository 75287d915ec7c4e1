// What every binary file of the archive begins and ends with (docs/archive-format.md, "Every file"). The prefix says
// what the file is and to whom it belongs; for sealed files it is the associated data. The last 32 bytes are the
// SHA-256 of all before them, so that rot shows without any key; the parent (head or index) names that digest.

import { createHash } from "node:crypto";
import { equalBytes, plainBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { archiveVersion } from "../version.ts";
import { type Codec, encode, fixedBytes, oneOf, only, struct, u16 } from "../wire/codec.ts";
import { byteReader } from "../wire/reader.ts";
import {
  type ArchiveUuid,
  archiveUuid,
  type Digest,
  digestBytes,
  type Generation,
  generation,
  type VolumeId,
  volumeId,
} from "./types.ts";

export const fileKinds = {
  archive: 1,
  head: 2,
  dead: 3,
  index: 4,
  header: 5,
  manifest: 6,
  list: 7,
  offsets: 8,
} as const;
export type FileKind = keyof typeof fileKinds;

/** How the body is kept: as it is, or sealed with AES-256-GCM under a key that `salt` is part of. */
export const protections = { plain: 0, sealed: 1 } as const;
export type Protection = keyof typeof protections;
/** Only these say what a backup means. The rest must be readable for the receiver, which has no key. */
const sealable: ReadonlySet<FileKind> = new Set<FileKind>(["index", "header", "manifest"]);

export interface FilePrefix {
  readonly kind: FileKind;
  readonly protection: Protection;
  readonly archive: ArchiveUuid;
  /** All zero for what belongs to the archive as a whole. */
  readonly volume: VolumeId;
  /** The head that this file was written for; 0 for `archive`, which is there before any head. */
  readonly generation: Generation;
  /** 16 random bytes for a sealed file, zeros for a plain one. */
  readonly salt: Uint8Array;
}

const magic = Uint8Array.from([0x53, 0x50, 0x52, 0x53, 0x42, 0x4b, 0x0d, 0x0a]); // SPRSBK\r\n
const body: Codec<FilePrefix> = struct<FilePrefix>({
  kind: oneOf(fileKinds, u16),
  protection: oneOf(protections, u16),
  archive: archiveUuid,
  volume: volumeId,
  generation,
  salt: fixedBytes(16),
});
const version = only(u16, (n) => n === archiveVersion, `version ${archiveVersion}`);

/** Bytes of the prefix. */
export const prefixBytes: number = 8 + 2 + 2 + 2 + 16 + 16 + 8 + 16;
/** A volume id of zeros, for files of the whole archive. */
export const noVolume: VolumeId = new Uint8Array(16) as VolumeId;
const noSalt = new Uint8Array(16);

/** The prefix of a plain file. */
export function plainPrefix(
  kind: FileKind,
  archive: ArchiveUuid,
  volume: VolumeId,
  at: Generation,
): FilePrefix {
  return { kind, protection: "plain", archive, volume, generation: at, salt: noSalt };
}

/** The prefix as bytes. */
export function encodePrefix(prefix: FilePrefix): Uint8Array {
  checkProtection(prefix);
  const whole = new Uint8Array(prefixBytes);
  whole.set(magic);
  whole.set(encode(version, archiveVersion), magic.length);
  whole.set(encode(body, prefix), magic.length + 2);
  return whole;
}

/** Reads a prefix; throws `bad-magic`, `bad-version`, `truncated`, or `bad-value`: also for a plain file with a salt,
 *  and a sealed one of a kind that never is. */
export function decodePrefix(untrusted: Uint8Array): FilePrefix {
  const reader = byteReader(untrusted.subarray(0, prefixBytes), "file prefix");
  if (!equalBytes(reader.bytes(magic.length), magic))
    throw new FormatError("bad-magic", "not a file of an archive");
  const found = reader.u16();
  if (found !== archiveVersion) {
    throw new FormatError("bad-version", `read an archive file: version ${found}, wanted ${archiveVersion}`);
  }
  const prefix = body.read(reader, "file prefix");
  checkProtection(prefix);
  return prefix;
}

function checkProtection({ kind, protection, salt }: FilePrefix): void {
  if (protection === "sealed" && !sealable.has(kind)) {
    throw new FormatError("bad-value", `read an archive file: sealed, and a ${kind} never is`);
  }
  if (protection === "plain" && salt.some((byte) => byte !== 0)) {
    throw new FormatError("bad-value", "read an archive file: a salt in a file that is not sealed");
  }
}

/** What a file must be: kind and archive always, volume and generation where the reader knows them. */
export interface ExpectedFile {
  readonly kind: FileKind;
  readonly archive?: ArchiveUuid;
  readonly volume?: VolumeId;
  readonly generation?: Generation;
}

/** Throws `bad-value` where the prefix is not of the file that was asked for. */
export function expectPrefix(prefix: FilePrefix, expected: ExpectedFile): void {
  const wrong = (what: string): never => {
    throw new FormatError("bad-value", `read a ${expected.kind}: the file belongs to another ${what}`);
  };
  if (prefix.kind !== expected.kind) wrong(`kind (${prefix.kind})`);
  if (expected.archive && !equalBytes(prefix.archive, expected.archive)) wrong("archive");
  if (expected.volume && !equalBytes(prefix.volume, expected.volume)) wrong("volume");
  if (expected.generation !== undefined && prefix.generation !== expected.generation) wrong("generation");
}

/** Prefix, body (whole or in parts) and digest, one after another. */
export function encodeFile(prefix: FilePrefix, bodyBytes: Uint8Array | readonly Uint8Array[]): Uint8Array {
  const parts = bodyBytes instanceof Uint8Array ? [bodyBytes] : bodyBytes;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = new Uint8Array(prefixBytes + length + digestBytes);
  whole.set(encodePrefix(prefix));
  let at = prefixBytes;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  whole.set(sha256(whole.subarray(0, whole.length - digestBytes)), whole.length - digestBytes);
  return whole;
}

/** Checks digest and prefix of a whole file; gives the prefix and a view of the body. */
export function decodeFile(
  untrusted: Uint8Array,
  expected: ExpectedFile,
): { readonly prefix: FilePrefix; readonly body: Uint8Array } {
  const prefix = decodePrefix(untrusted);
  if (untrusted.length < prefixBytes + digestBytes)
    throw new FormatError("truncated", `read a ${expected.kind}`);
  expectPrefix(prefix, expected);
  if (!equalBytes(sha256(untrusted.subarray(0, untrusted.length - digestBytes)), fileDigest(untrusted))) {
    throw new FormatError("bad-digest", `read a ${expected.kind}: its digest does not fit its bytes`);
  }
  return { prefix, body: plainBytes(untrusted.subarray(prefixBytes, untrusted.length - digestBytes)) };
}

/** The digest that a file ends with, by which its parent names it. A copy. */
export function fileDigest(file: Uint8Array): Digest {
  return plainBytes(file).slice(file.length - digestBytes) as Digest;
}

/** True where a file is the one that its parent names by `digest`, every byte of it. */
export function isFileOf(file: Uint8Array, digest: Digest): boolean {
  if (file.length < digestBytes || !equalBytes(fileDigest(file), digest)) return false;
  return equalBytes(sha256(file.subarray(0, file.length - digestBytes)), digest);
}

/** SHA-256 of `bytes`. */
export function sha256(bytes: Uint8Array): Digest {
  return new Uint8Array(createHash("sha256").update(bytes).digest()) as Digest;
}
