// The body of a file that may be sealed (docs/archive-format.md, F9): cut into segments of 64 KiB, each sealed by
// itself, so that a manifest of gigabytes takes the memory of one segment. What seals and opens comes from outside,
// through the interfaces below: this folder is also the receiver's, which has no keys and can't import what needs them.

import { plainBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import {
  encodeFile,
  encodePrefix,
  type FileKind,
  type FilePrefix,
  plainPrefix,
  prefixBytes,
} from "./prefix.ts";
import { type ArchiveUuid, digestBytes, type Generation, type VolumeId } from "./types.ts";

/** Bytes of plaintext in a segment; only the last is shorter, and is empty only where the whole body is. */
export const segmentBytes: number = 64 * 1024;
/** Bytes that sealing adds to each segment: its tag. */
export const tagBytes = 16;
const sealedSegmentBytes = segmentBytes + tagBytes;

/** Which file it is. */
export interface FileIdentity {
  readonly kind: FileKind;
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
}

/** Seals the files of an archive. */
export interface BodySealer {
  /** Begins a file under a key of its own. `publicPart` stands before the body and stays readable. */
  begin(of: FileIdentity, publicPart: Uint8Array): SegmentSealer;
}

/** Seals one file. */
export interface SegmentSealer {
  /** Says `sealed`, and holds the salt that the file's key was derived with. */
  readonly prefix: FilePrefix;
  /** Ciphertext and tag of segment `number`, counted from 0. No number is ever given to two plaintexts. */
  seal(number: number, last: boolean, plaintext: Uint8Array): Uint8Array;
}

/** Opens the files of an archive, or of one volume of it. */
export interface BodyOpener {
  /** Throws FormatError `bad-mac` for a file that it has no key for. */
  begin(prefix: FilePrefix, untrustedPublicPart: Uint8Array): SegmentOpener;
}

/** Opens one file. */
export interface SegmentOpener {
  /** The plaintext of segment `number`; throws FormatError `bad-mac` where it is not what was sealed there. */
  open(number: number, last: boolean, untrusted: Uint8Array): Uint8Array;
}

const noBytes: Uint8Array = new Uint8Array(0);

/** Bytes of a sealed body with a plaintext of `length` bytes. */
export function sealedBodyBytes(length: number): number {
  return length + tagBytes * Math.max(1, Math.ceil(length / segmentBytes));
}

/** Bytes of plaintext in a sealed body of `length` bytes; throws `truncated` where no body has that length. */
export function openedBodyBytes(length: number): number {
  const full = Math.floor(length / sealedSegmentBytes);
  const rest = length % sealedSegmentBytes;
  if (rest === 0 && full > 0) return full * segmentBytes;
  if (rest > tagBytes || (rest === tagBytes && full === 0)) return full * segmentBytes + rest - tagBytes;
  throw new FormatError("truncated", `read a sealed file: ${length} bytes are no whole segments`);
}

/** Makes a file part by part. */
export interface FileWriter {
  /** Bytes of the whole file, its digest included, for a body of `bodyLength` bytes of plaintext. */
  length(bodyLength: number): number;
  /** All but the digest; each part is good until the next. The same body again gives the same bytes again. */
  parts(body: Iterable<Uint8Array>): Generator<Uint8Array>;
}

/** A writer of one file, sealed where there is a `sealer`. */
export function fileWriter(
  of: FileIdentity,
  publicPart: Uint8Array,
  sealer: BodySealer | undefined,
): FileWriter {
  const segments = sealer?.begin(of, publicPart);
  const prefix = encodePrefix(segments?.prefix ?? plainPrefix(of.kind, of.archive, of.volume, of.generation));
  return {
    length: (bodyLength) =>
      prefixBytes +
      publicPart.length +
      (segments === undefined ? bodyLength : sealedBodyBytes(bodyLength)) +
      digestBytes,
    parts: function* (body) {
      yield prefix;
      yield publicPart;
      if (segments === undefined) yield* body;
      else yield* sealedParts(segments, body);
    },
  };
}

function* sealedParts(segments: SegmentSealer, body: Iterable<Uint8Array>): Generator<Uint8Array> {
  const plain = new Uint8Array(segmentBytes);
  let filled = 0;
  let number = 0;
  for (const part of body) {
    for (let at = 0; at < part.length;) {
      // Whether a full segment is the last one shows only when something follows it.
      if (filled === segmentBytes) {
        yield segments.seal(number++, false, plain);
        filled = 0;
      }
      const taken = Math.min(segmentBytes - filled, part.length - at);
      plain.set(part.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
    }
  }
  yield segments.seal(number, true, plain.subarray(0, filled));
}

/** The bytes of a file that fits in memory, sealed where there is a `sealer`. */
export function encodeSealable(
  of: FileIdentity,
  publicPart: Uint8Array,
  body: Uint8Array,
  sealer: BodySealer | undefined,
): Uint8Array {
  const segments = sealer?.begin(of, publicPart);
  const prefix = segments?.prefix ?? plainPrefix(of.kind, of.archive, of.volume, of.generation);
  const rest = segments === undefined ? [body] : [...sealedParts(segments, [body])];
  return encodeFile(prefix, [publicPart, ...rest]);
}

/** Bytes that lie somewhere and can be read in any order. */
export interface ByteSource {
  readonly length: number;
  /** Fills `into` from byte `offset` on; throws where the bytes end before. */
  read(into: Uint8Array, offset: number): void;
}

/** Throws `bad-value` where a file is sealed and there is no key, or is not and there is one: a sealed archive's files
 *  are never taken unsealed (design section 8). */
function checkProtection(prefix: FilePrefix, opener: BodyOpener | undefined): void {
  if (prefix.protection === "sealed" && opener === undefined)
    throw new FormatError("bad-value", `read ${prefix.kind}: sealed; a key is needed`);
  if (prefix.protection === "plain" && opener !== undefined)
    throw new FormatError("bad-value", `read ${prefix.kind}: not sealed, in a sealed archive`);
}

/** The plaintext of a body that fits in memory: all that lies between the public part and the digest. */
export function openBody(
  prefix: FilePrefix,
  untrustedPublicPart: Uint8Array,
  untrusted: Uint8Array,
  opener: BodyOpener | undefined,
): Uint8Array {
  const body = bodySource(prefix, untrustedPublicPart, sourceOf(untrusted), opener);
  const plaintext = new Uint8Array(body.length);
  if (plaintext.length > 0) body.read(plaintext, 0);
  return plaintext;
}

function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    length: bytes.length,
    read: (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  };
}

/**
 * The plaintext of a body, to be read anywhere: one segment is kept opened. `untrusted` is what lies between the public
 * part and the digest. Reading throws FormatError `bad-mac` where a segment does not open.
 */
export function bodySource(
  prefix: FilePrefix,
  untrustedPublicPart: Uint8Array,
  untrusted: ByteSource,
  opener: BodyOpener | undefined,
): ByteSource {
  checkProtection(prefix, opener);
  if (opener === undefined) return untrusted;
  const segments = opener.begin(prefix, untrustedPublicPart);
  const length = openedBodyBytes(untrusted.length);
  const count = Math.max(1, Math.ceil(length / segmentBytes));
  let opened = noBytes;
  let number = -1;

  const open = (wanted: number): void => {
    if (wanted === number) return;
    const at = wanted * sealedSegmentBytes;
    const sealed = new Uint8Array(Math.min(sealedSegmentBytes, untrusted.length - at));
    untrusted.read(sealed, at);
    opened = plainBytes(segments.open(wanted, wanted === count - 1, sealed));
    number = wanted;
  };
  if (length === 0) open(0); // an empty body is authenticated too

  return {
    length,
    read: (into, offset) => {
      if (offset + into.length > length)
        throw new FormatError(
          "truncated",
          `read ${prefix.kind}: ${length} bytes, ${offset + into.length} wanted`,
        );
      for (let done = 0; done < into.length;) {
        const at = offset + done;
        open(Math.floor(at / segmentBytes));
        const from = at % segmentBytes;
        const part = opened.subarray(from, Math.min(opened.length, from + into.length - done));
        into.set(part, done);
        done += part.length;
      }
    },
  };
}
