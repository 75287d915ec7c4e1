// The tar form of a session: one standard tar whose last member, `S_…/offsets`, says where everything lies, so that a
// reader finds any chunk without walking through the members (docs/archive-format.md, "Tar form").
//
//   members: S_…/000000000/x… in the order of their addresses, S_…/manifest.N, S_…/header, S_…/list, S_…/offsets,
//   then exactly 1024 zero bytes, which end the file as they end any tar.
//
//   offsets: prefix | session uid 16 | records: address u64, offset u64 | zeros up to a multiple of 512 | footer 512
//   footer:  "SPBKTAR\n" | records' offset u64 | record count u64 | offset u64 and length u64 of manifest, header, list
//            | manifest's generation u64 | zeros | SHA-256 of the whole member before these 32 bytes
//
// A container that never had a session has neither manifest nor header: their offsets and lengths are 0, and so is the
// manifest's generation.
//
// All offsets count from the first byte of the tar and are those of a member's data; its header is the 512 bytes before.
// A chunk's length is in its own header, in `list` and in every manifest that names it.

import { createHash } from "node:crypto";
import { equalBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { type Codec, encode, fixedBytes, struct, u64 } from "../wire/codec.ts";
import { byteReader } from "../wire/reader.ts";
import type { ListIdentity } from "./list-file.ts";
import { decodePrefix, encodePrefix, expectPrefix, plainPrefix, prefixBytes } from "./prefix.ts";
import {
  type ChunkAddress,
  type Digest,
  digestBytes,
  type Generation,
  generation,
  type SessionUid,
  sessionUid,
  uidBytes,
} from "./types.ts";

/** Everything in a tar comes in blocks of this many bytes. */
export const tarBlockBytes = 512;
/** The zero bytes that every one of our tars ends with. */
export const tarTrailerBytes = 1024;
/** Bytes of the footer, the last block of the member `offsets`. */
export const footerBytes: number = tarBlockBytes;
/** Bytes of one record, and of what stands before the first. */
export const offsetRecordBytes = 16;
export const offsetsHeadBytes: number = prefixBytes + uidBytes;

/** Where a chunk's stored form begins in the tar. */
export interface OffsetRecord {
  readonly address: ChunkAddress;
  readonly offset: number;
}

/** Where a member's data lies in the tar. */
export interface MemberPlace {
  readonly offset: number;
  readonly length: number;
}

export interface OffsetsFooter {
  /** Of the first record, in the tar. */
  readonly recordsOffset: number;
  readonly records: number;
  readonly manifest: MemberPlace;
  readonly header: MemberPlace;
  readonly list: MemberPlace;
  /** N of `manifest.N`. */
  readonly manifestGeneration: Generation;
}

const magic = Uint8Array.from([0x53, 0x50, 0x42, 0x4b, 0x54, 0x41, 0x52, 0x0a]); // SPBKTAR\n
const place: Codec<MemberPlace> = struct<MemberPlace>({ offset: u64, length: u64 });
const fields: Codec<OffsetsFooter> = struct<OffsetsFooter>({
  recordsOffset: u64,
  records: u64,
  manifest: place,
  header: place,
  list: place,
  manifestGeneration: generation,
});

/** Bytes up to the next multiple of 512: what pads a member's data. */
export function tarPadding(length: number): number {
  return (tarBlockBytes - (length % tarBlockBytes)) % tarBlockBytes;
}

/** Offset of the footer in a tar of `fileSize` bytes; throws `truncated` where a tar of ours can't be that short. */
export function footerOffset(fileSize: number): number {
  const at = fileSize - tarTrailerBytes - footerBytes;
  if (at < tarBlockBytes || fileSize % tarBlockBytes !== 0) {
    throw new FormatError("truncated", `read tar: ${fileSize} bytes can't be a finished session`);
  }
  return at;
}

/** The bytes before the first record: prefix and session uid. */
export function encodeOffsetsHead(of: ListIdentity): Uint8Array {
  const head = new Uint8Array(offsetsHeadBytes);
  head.set(encodePrefix(plainPrefix("offsets", of.archive, of.volume, of.generation)));
  head.set(encode(sessionUid, of.session), prefixBytes);
  return head;
}

/** Reads those bytes; throws FormatError where they are of another session than `expected`. */
export function decodeOffsetsHead(untrusted: Uint8Array, expected: Partial<ListIdentity> = {}): ListIdentity {
  const prefix = decodePrefix(untrusted);
  const { session, ...of } = expected;
  expectPrefix(prefix, { kind: "offsets", ...of });
  const uid = fixedBytes<SessionUid>(uidBytes).read(
    byteReader(untrusted.subarray(prefixBytes), "offsets"),
    "offsets",
  );
  if (session && !equalBytes(uid, session))
    throw new FormatError("bad-value", "read offsets: of another session");
  return { archive: prefix.archive, volume: prefix.volume, generation: prefix.generation, session: uid };
}

/** Writes one record of 16 bytes at `at` in `target`. */
export function encodeOffsetRecord(target: Uint8Array, at: number, record: OffsetRecord): void {
  const view = new DataView(target.buffer, target.byteOffset + at, offsetRecordBytes);
  view.setUint32(0, Math.floor(record.address / 2 ** 32));
  view.setUint32(4, record.address % 2 ** 32);
  view.setUint32(8, Math.floor(record.offset / 2 ** 32));
  view.setUint32(12, record.offset % 2 ** 32);
}

/** The record of 16 bytes at `at`; `bad-value` for integers above 2^53−1. Order and bounds are the reader's to check. */
export function decodeOffsetRecord(untrusted: Uint8Array, at: number): OffsetRecord {
  const reader = byteReader(untrusted.subarray(at, at + offsetRecordBytes), "offsets");
  return { address: reader.u64() as ChunkAddress, offset: reader.u64() };
}

/** Makes the member's bytes in the order of the file; the caller puts them wherever it likes. */
export interface OffsetsBuilder {
  /** Prefix and session uid. */
  readonly head: Uint8Array;
  /** Takes the next records, already encoded, a whole number of them. */
  add(records: Uint8Array): void;
  /** Padding and footer: the rest of the member. `recordsOffset` and `records` must be what was really added. */
  finish(footer: OffsetsFooter): Uint8Array;
}

/** A builder for the offsets of one session. */
export function offsetsBuilder(of: ListIdentity): OffsetsBuilder {
  const head = encodeOffsetsHead(of);
  const hash = createHash("sha256").update(head);
  let records = 0;

  return {
    head,
    add: (bytes) => {
      if (bytes.length % offsetRecordBytes !== 0)
        throw new FormatError("truncated", "write offsets: half a record");
      records += bytes.length / offsetRecordBytes;
      hash.update(bytes);
    },
    finish: (footer) => {
      if (footer.records !== records) {
        throw new FormatError("bad-value", `write offsets: ${records} records, ${footer.records} announced`);
      }
      const padding = tarPadding(offsetsHeadBytes + records * offsetRecordBytes);
      const tail = new Uint8Array(padding + footerBytes);
      tail.set(encodeOffsetsFooter(footer), padding);
      hash.update(tail.subarray(0, tail.length - digestBytes));
      tail.set(hash.digest(), tail.length - digestBytes);
      return tail;
    },
  };
}

/** Bytes of the whole member for a number of records. */
export function offsetsMemberBytes(records: number): number {
  const unpadded = offsetsHeadBytes + records * offsetRecordBytes;
  return unpadded + tarPadding(unpadded) + footerBytes;
}

/** The footer's 512 bytes, with zeros where the digest goes (offsetsBuilder fills it in). */
export function encodeOffsetsFooter(footer: OffsetsFooter): Uint8Array {
  const block = new Uint8Array(footerBytes);
  block.set(magic);
  block.set(encode(fields, footer), magic.length);
  return block;
}

/**
 * Reads the footer of a tar of `fileSize` bytes from the block at `footerOffset(fileSize)`, and checks that everything
 * it names lies before it, in the one order there is. The digest covers the whole member and is given as it stands:
 * whoever reads all records compares it (offsetsBuilder makes it again).
 */
export function decodeOffsetsFooter(
  untrusted: Uint8Array,
  fileSize: number,
): OffsetsFooter & { readonly digest: Digest } {
  if (untrusted.length !== footerBytes) {
    throw new FormatError(
      "truncated",
      `read offsets: a footer of ${untrusted.length} bytes, wanted ${footerBytes}`,
    );
  }
  const reader = byteReader(untrusted, "offsets");
  if (!equalBytes(reader.bytes(magic.length), magic)) {
    throw new FormatError("bad-magic", "read tar: it does not end like a finished session");
  }
  const footer = fields.read(reader, "offsets footer");
  const digest = untrusted.slice(footerBytes - digestBytes) as Digest;
  if (reader.bytes(reader.left() - digestBytes).some((byte) => byte !== 0)) {
    throw new FormatError("bad-value", "read offsets: bytes that must be zero are not");
  }
  checkPlaces(footer, footerOffset(fileSize));
  return { ...footer, digest };
}

/** True for the place of a member that the tar does not have. */
export function isNowhere({ offset, length }: MemberPlace): boolean {
  return offset === 0 && length === 0;
}

function checkPlaces(footer: OffsetsFooter, footerAt: number): void {
  const end = footer.recordsOffset + footer.records * offsetRecordBytes;
  if (end + tarPadding(end - footer.recordsOffset + offsetsHeadBytes) !== footerAt) {
    throw new FormatError(
      "bad-value",
      `read offsets: ${footer.records} records don't end where the footer begins`,
    );
  }
  const offsetsHeader = footer.recordsOffset - offsetsHeadBytes - tarBlockBytes;
  const withoutSession = isNowhere(footer.manifest) && isNowhere(footer.header);
  if (withoutSession && footer.manifestGeneration !== 0)
    throw new FormatError("bad-value", "read offsets: the generation of no manifest");
  let after = tarBlockBytes;
  for (const { offset, length } of withoutSession
    ? [footer.list]
    : [footer.manifest, footer.header, footer.list]) {
    if (offset % tarBlockBytes !== 0 || offset < after || offset + length > offsetsHeader) {
      throw new FormatError("bad-value", `read offsets: a member at ${offset} that can't be there`);
    }
    after = offset + length + tarBlockBytes;
  }
}
