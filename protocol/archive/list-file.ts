// `list` of a session: every chunk that lies in it, with its length and checksum and nothing else, so that anyone can
// find rot and absence without a key. Sender and receiver both make it; equal digests mean that what was sent arrived.
//
//   prefix | session uid 16 | records: address u64, stored length u32, SHA-256 of the stored form 32 | count u64 | SHA-256

import { createHash } from "node:crypto";
import { equalBytes, plainBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { encode, u64 } from "../wire/codec.ts";
import { decodePrefix, encodePrefix, expectPrefix, plainPrefix, prefixBytes } from "./prefix.ts";
import {
  type ArchiveUuid,
  type ChunkAddress,
  type Digest,
  digestBytes,
  type Generation,
  maxChunkSize,
  maxStoredLength,
  minChunkSize,
  type SessionUid,
  sessionUid,
  uidBytes,
  type VolumeId,
} from "./types.ts";

export interface ListEntry {
  readonly address: ChunkAddress;
  readonly storedLength: number;
  readonly checksum: Digest;
}

export interface ListIdentity {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
  readonly session: SessionUid;
}

export const listRecordBytes = 44;
const longest = maxStoredLength(maxChunkSize);
/** Bytes before the first record, and behind the last. */
export const listHeadBytes: number = prefixBytes + uidBytes;
export const listTailBytes: number = 8 + digestBytes;

/** Bytes of a list of so many chunks. */
export function listLength(chunks: number): number {
  return listHeadBytes + chunks * listRecordBytes + listTailBytes;
}

/** Makes a list record by record; the caller keeps the bytes wherever it likes. */
export interface ListBuilder {
  /** The bytes before the first record. */
  readonly head: Uint8Array;
  /** The next record's 44 bytes. Addresses rise. */
  add(entry: ListEntry): Uint8Array;
  /** Count and digest, the last bytes; the digest is what the index names. */
  finish(): {
    readonly tail: Uint8Array;
    readonly digest: Digest;
    readonly chunks: number;
    readonly bytes: number;
  };
}

export function listBuilder(of: ListIdentity): ListBuilder {
  const head = new Uint8Array(listHeadBytes);
  head.set(encodePrefix(plainPrefix("list", of.archive, of.volume, of.generation)));
  head.set(encode(sessionUid, of.session), prefixBytes);
  const hash = createHash("sha256").update(head);
  let chunks = 0;
  let bytes = 0;
  let next = 0;

  return {
    head,
    add: (entry) => {
      checkEntry(entry);
      if (entry.address < next)
        throw new FormatError("bad-order", `list: address ${entry.address} is not above the one before`);
      next = entry.address + 1;
      chunks++;
      bytes += entry.storedLength;
      const record = new Uint8Array(listRecordBytes);
      const view = new DataView(record.buffer);
      view.setUint32(0, Math.floor(entry.address / 2 ** 32));
      view.setUint32(4, entry.address % 2 ** 32);
      view.setUint32(8, entry.storedLength);
      record.set(entry.checksum, 12);
      hash.update(record);
      return record;
    },
    finish: () => {
      const tail = new Uint8Array(listTailBytes);
      tail.set(encode(u64, chunks));
      hash.update(tail.subarray(0, 8));
      const digest = new Uint8Array(hash.digest()) as Digest;
      tail.set(digest, 8);
      return { tail, digest, chunks, bytes };
    },
  };
}

/** Reads a list that fits in memory; for a stream, read record by record with readListRecord. */
export function decodeList(
  untrusted: Uint8Array,
  expected: Partial<ListIdentity> = {},
): readonly ListEntry[] {
  const prefix = decodePrefix(untrusted);
  const { session, ...of } = expected;
  expectPrefix(prefix, { kind: "list", ...of });
  const records = untrusted.length - listHeadBytes - listTailBytes;
  if (records < 0 || records % listRecordBytes !== 0)
    throw new FormatError("truncated", "read list: half a record");
  const uid = untrusted.subarray(prefixBytes, listHeadBytes);
  if (session && !equalBytes(uid, session))
    throw new FormatError("bad-value", "read list: of another session");
  const builder = listBuilder({ ...prefix, session: plainBytes(uid).slice() as SessionUid });
  const entries: ListEntry[] = [];
  for (let at = listHeadBytes; at < listHeadBytes + records; at += listRecordBytes) {
    const entry = readListRecord(untrusted.subarray(at, at + listRecordBytes));
    builder.add(entry);
    entries.push(entry);
  }
  if (!equalBytes(builder.finish().tail, untrusted.subarray(untrusted.length - listTailBytes))) {
    throw new FormatError("bad-digest", "read list: its count or digest does not fit its records");
  }
  return entries;
}

/** One record of 44 bytes. */
export function readListRecord(untrusted: Uint8Array): ListEntry {
  if (untrusted.length !== listRecordBytes)
    throw new FormatError("truncated", `read list: a record of ${untrusted.length} bytes`);
  const view = new DataView(untrusted.buffer, untrusted.byteOffset, listRecordBytes);
  const entry = {
    address: (view.getUint32(0) * 2 ** 32 + view.getUint32(4)) as ChunkAddress,
    storedLength: view.getUint32(8),
    checksum: plainBytes(untrusted).slice(12, listRecordBytes) as Digest,
  };
  checkEntry(entry);
  return entry;
}

function checkEntry({ address, storedLength }: ListEntry): void {
  if (!Number.isSafeInteger(address) || address < 0 || address % minChunkSize !== 0)
    throw new FormatError("bad-value", `list: address ${address}, wanted a multiple of 64 KiB`);
  if (storedLength < 1 || storedLength > longest) {
    throw new FormatError(
      "bad-value",
      `list: a chunk of ${storedLength} stored bytes, wanted 1 to ${longest}`,
    );
  }
}
