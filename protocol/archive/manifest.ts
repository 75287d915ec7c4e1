// `manifest.N`: the chunks in which a session differs from the one before it, in the order of their addresses. A
// manifest may be hundreds of megabytes, so both directions work on a stretch of records at a time.
//
//   prefix | session uid 16 | volume size u64 | chunk size u32 | table count u32 | table: (volume id 16, session uid 16)…
//   | record count u64 | records of 92 bytes | SHA-256 of all before
//
// Record: address u64 | run u32 | container u32 | stored address u64 | stored length u32 | chunk id 32 | checksum 32.
// Container 0 is the manifest's own session, k is entry k−1 of the table, 2^32−1 is a hole (all behind it is zero).

import { concatBytes } from "../bytes.ts";
import { FormatError, InternalError } from "../errors.ts";
import { type Codec, encode, list, struct, u64 } from "../wire/codec.ts";
import { byteReader } from "../wire/reader.ts";
import {
  decodePrefix,
  encodePrefix,
  expectPrefix,
  type FilePrefix,
  plainPrefix,
  prefixBytes,
} from "./prefix.ts";
import {
  type BodyOpener,
  type BodySealer,
  bodySource,
  type ByteSource,
  fileWriter,
  sealedBodyBytes,
} from "./sealed-body.ts";
import {
  type ArchiveUuid,
  type ChunkAddress,
  type ChunkId,
  type Digest,
  digestBytes,
  type Generation,
  chunkSizeField,
  maxStoredLength,
  type SessionUid,
  sessionUid,
  type VolumeId,
  volumeId,
  volumeSize,
} from "./types.ts";

/** Where chunks lie that another session stored. */
export interface ContainerRef {
  readonly volume: VolumeId;
  readonly session: SessionUid;
}

/** All that stands before the records. */
export interface ManifestHead {
  readonly session: SessionUid;
  readonly size: number;
  readonly chunkSize: number;
  readonly containers: readonly ContainerRef[];
}

/** A stretch of the volume that holds nothing but zeros. */
export interface HoleEntry {
  readonly kind: "hole";
  readonly address: ChunkAddress;
  /** Chunks that it covers. */
  readonly run: number;
}

/** A chunk, and where its stored form lies. */
export interface ChunkEntry {
  readonly kind: "chunk";
  readonly address: ChunkAddress;
  /** How many chunks from `address` on have this content. */
  readonly run: number;
  readonly id: ChunkId;
  /** 0: this session; k: entry k−1 of the table. */
  readonly container: number;
  /** Address under which the container keeps it. */
  readonly storedAddress: ChunkAddress;
  /** Bytes of the stored form. */
  readonly storedLength: number;
  /** SHA-256 of the stored form: checked before anything decompresses it. */
  readonly checksum: Digest;
}

export type ManifestEntry = HoleEntry | ChunkEntry;

export const recordBytes = 92;
export const maxContainers = 262_144;
const holeContainer = 0xffff_ffff;
const noPublicPart = new Uint8Array(0);

const head: Codec<ManifestHead> = struct<ManifestHead>({
  session: sessionUid,
  size: volumeSize,
  chunkSize: chunkSizeField,
  containers: list(struct<ContainerRef>({ volume: volumeId, session: sessionUid }), maxContainers),
});

/** Chunks of a volume of `size` bytes: the last may be short. */
export function chunkCount(size: number, chunkSize: number): number {
  return Math.ceil(size / chunkSize);
}

/** Bytes of the chunk at `address`: the chunk size, or what is left of the volume. */
export function chunkLength(address: number, size: number, chunkSize: number): number {
  return Math.min(chunkSize, size - address);
}

/** Which file a manifest is. */
export interface ManifestFile {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
}

/** Everything up to the first record of a manifest that is not sealed. */
export function encodeManifestHead(of: ManifestFile, fields: ManifestHead, records: number): Uint8Array {
  const prefix = encodePrefix(plainPrefix("manifest", of.archive, of.volume, of.generation));
  return concatBytes([prefix, encodeFields(fields, records)]);
}

function encodeFields(fields: ManifestHead, records: number): Uint8Array {
  return concatBytes([encode(head, fields), encode(u64, records)]);
}

/** Makes a manifest part by part, sealed where there is a `sealer`. */
export function manifestWriter(
  of: ManifestFile,
  fields: ManifestHead,
  records: number,
  sealer: BodySealer | undefined,
): {
  /** Bytes of the whole file, its digest included. */
  readonly length: number;
  /** All but the digest, from the records' bytes; each part is good until the next. Can be made again. */
  parts(recordBytes: Iterable<Uint8Array>): Generator<Uint8Array>;
} {
  const { archive, volume, generation } = of;
  const file = fileWriter({ kind: "manifest", archive, volume, generation }, noPublicPart, sealer);
  const start = encodeFields(fields, records);
  return {
    length: file.length(start.length + records * recordBytes),
    parts: (all) =>
      file.parts(
        (function* () {
          yield start;
          yield* all;
        })(),
      ),
  };
}

export interface DecodedManifestHead extends ManifestHead {
  readonly prefix: FilePrefix;
  readonly records: number;
  /** Offset of the first record in the file. */
  readonly recordsAt: number;
}

/** Which manifest a reader asked for. */
export interface ExpectedManifestFile {
  readonly archive?: ArchiveUuid;
  readonly volume?: VolumeId;
  readonly generation?: Generation;
}

/** Bytes of the fields before the table's entries. */
const fixedBytes = 16 + 8 + 4 + 4;
/** Bytes that hold any manifest's head: what a reader has to have before it calls decodeManifestHead. */
export const maxManifestHeadBytes: number = prefixBytes + fixedBytes + maxContainers * 32 + 8;

/** Bytes of the longest manifest of a session whose volume has `size` bytes, sealed or not: the largest table, and a
 *  record for each chunk. Nobody has to take more than that from the other side. */
export function longestManifest(size: number, chunkSize: number): number {
  const body = maxManifestHeadBytes - prefixBytes + chunkCount(size, chunkSize) * recordBytes;
  return prefixBytes + sealedBodyBytes(body) + digestBytes;
}

/**
 * Reads the head of a manifest that is not sealed, a file of `fileLength` bytes, from its first bytes
 * (maxManifestHeadBytes of them, or the whole file). The number of records must fit the length of the file exactly.
 */
export function decodeManifestHead(
  untrusted: Uint8Array,
  fileLength: number,
  expected: ExpectedManifestFile = {},
): DecodedManifestHead {
  const prefix = decodePrefix(untrusted);
  expectPrefix(prefix, { kind: "manifest", ...expected });
  if (prefix.protection !== "plain")
    throw new FormatError("bad-value", "read manifest: sealed; a key is needed");
  const found = decodeFields(untrusted.subarray(prefixBytes), fileLength - prefixBytes - digestBytes);
  return { ...found.fields, prefix, records: found.records, recordsAt: prefixBytes + found.length };
}

/** The fields at the beginning of a body of `bodyLength` bytes, which the records behind them fill. */
function decodeFields(
  untrusted: Uint8Array,
  bodyLength: number,
): { readonly fields: ManifestHead; readonly records: number; readonly length: number } {
  const reader = byteReader(untrusted, "manifest");
  const fields = head.read(reader, "manifest");
  const records = reader.u64();
  const length = untrusted.length - reader.left();
  if (length + records * recordBytes !== bodyLength) {
    throw new FormatError("truncated", `read manifest: ${bodyLength} bytes do not hold ${records} records`);
  }
  return { fields, records, length };
}

/** A manifest whose records can be read a stretch at a time. */
export interface OpenManifest extends ManifestHead {
  readonly prefix: FilePrefix;
  readonly records: number;
  /** Fills `into` with records, from record `first` on, as recordReader takes them. */
  readonly readRecords: (into: Uint8Array, first: number) => void;
}

/**
 * Opens a manifest, sealed or not, that lies in `untrusted`, its digest included; that one is the caller's to check.
 * `opener` belongs to a sealed archive. Throws FormatError.
 */
export function openManifest(
  untrusted: ByteSource,
  expected: ExpectedManifestFile = {},
  opener?: BodyOpener,
): OpenManifest {
  const prefix = decodePrefix(take(untrusted, 0, Math.min(prefixBytes, untrusted.length)));
  expectPrefix(prefix, { kind: "manifest", ...expected });
  const length = untrusted.length - prefixBytes - digestBytes;
  if (length < 0) throw new FormatError("truncated", `read manifest: ${untrusted.length} bytes`);
  const sealed = {
    length,
    read: (into: Uint8Array, offset: number) => untrusted.read(into, prefixBytes + offset),
  };
  const body = bodySource(prefix, noPublicPart, sealed, opener);
  // The table's length stands at a fixed place.
  const start = take(body, 0, Math.min(fixedBytes, body.length));
  const count = start.length < fixedBytes ? 0 : new DataView(start.buffer).getUint32(fixedBytes - 4);
  const headLength = fixedBytes + Math.min(count, maxContainers) * 32 + 8;
  const {
    fields,
    records,
    length: recordsAt,
  } = decodeFields(take(body, 0, Math.min(headLength, body.length)), body.length);
  return {
    ...fields,
    prefix,
    records,
    readRecords: (into, first) => body.read(into, recordsAt + first * recordBytes),
  };
}

function take(from: ByteSource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  if (length > 0) from.read(bytes, offset);
  return bytes;
}

/** Most chunks that one record covers; a longer stretch takes several. */
export const maxRun = 0xffff_ffff;

/** Writes one record of 92 bytes at `at` in `target`. Throws InternalError for what a record can't hold. */
export function encodeRecord(target: Uint8Array, at: number, entry: ManifestEntry): void {
  const view = new DataView(target.buffer, target.byteOffset + at, recordBytes);
  if (!(entry.run >= 1 && entry.run <= maxRun))
    throw new InternalError(`write manifest: a run of ${entry.run} chunks`);
  putU64(view, 0, entry.address);
  view.setUint32(8, entry.run);
  if (entry.kind === "hole") {
    view.setUint32(12, holeContainer);
    target.fill(0, at + 16, at + recordBytes);
    return;
  }
  if (
    entry.id.length !== digestBytes ||
    entry.checksum.length !== digestBytes ||
    entry.container > maxContainers
  ) {
    throw new InternalError(`write manifest: a record that can't be, container ${entry.container}`);
  }
  view.setUint32(12, entry.container);
  putU64(view, 16, entry.storedAddress);
  view.setUint32(24, entry.storedLength);
  target.set(entry.id, at + 28);
  target.set(entry.checksum, at + 60);
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

/** Checks records as they come: addresses that rise, stay inside the volume and don't overlap. */
export interface RecordReader {
  /** The records in `untrusted`, a whole number of them. Ids and checksums are views into it. */
  read(untrusted: Uint8Array): ManifestEntry[];
}

/** What the records of a manifest are checked against. */
export interface RecordBounds extends Pick<ManifestHead, "size" | "chunkSize"> {
  /** The table; only how many there are counts here. */
  readonly containers: { readonly length: number };
}

/** A reader for the records of one manifest, in the order of the file. */
export function recordReader(of: RecordBounds): RecordReader {
  const count = chunkCount(of.size, of.chunkSize);
  const longest = maxStoredLength(of.chunkSize);
  let next = 0;

  const one = (untrusted: Uint8Array, view: DataView, at: number): ManifestEntry => {
    const address = takeAddress(view, at, of.chunkSize);
    const run = view.getUint32(at + 8);
    const container = view.getUint32(at + 12);
    const index = address / of.chunkSize;
    if (index < next)
      throw new FormatError("bad-order", `read manifest: address ${address} is not above the one before`);
    if (run < 1 || index + run > count) {
      throw new FormatError(
        "bad-value",
        `read manifest: ${run} chunks at ${address} in a volume of ${of.size} bytes`,
      );
    }
    next = index + run;
    if (container === holeContainer) {
      for (let i = at + 16; i < at + recordBytes; i++) {
        if (untrusted[i] !== 0) throw new FormatError("bad-value", "read manifest: a hole with data");
      }
      return { kind: "hole", address, run };
    }
    const storedLength = view.getUint32(at + 24);
    if (container > of.containers.length) {
      throw new FormatError("bad-value", `read manifest: container ${container} of ${of.containers.length}`);
    }
    if (storedLength < 1 || storedLength > longest) {
      throw new FormatError(
        "bad-value",
        `read manifest: a chunk of ${storedLength} stored bytes, wanted 1 to ${longest}`,
      );
    }
    if (run > 1 && index + run === count && of.size % of.chunkSize !== 0) {
      throw new FormatError("bad-value", "read manifest: a run of equal chunks that ends in a shorter one");
    }
    const id = untrusted.subarray(at + 28, at + 60) as ChunkId;
    if (id.every((byte) => byte === 0))
      throw new FormatError("bad-value", "read manifest: a chunk with the id of a hole");
    const checksum = untrusted.subarray(at + 60, at + recordBytes) as Digest;
    const storedAddress = takeAddress(view, at + 16, of.chunkSize);
    return { kind: "chunk", address, run, id, container, storedAddress, storedLength, checksum };
  };

  return {
    read: (untrusted) => {
      if (untrusted.length % recordBytes !== 0)
        throw new FormatError("truncated", "read manifest: half a record");
      const view = new DataView(untrusted.buffer, untrusted.byteOffset, untrusted.length);
      const entries: ManifestEntry[] = [];
      for (let at = 0; at < untrusted.length; at += recordBytes) entries.push(one(untrusted, view, at));
      return entries;
    },
  };
}

function takeAddress(view: DataView, at: number, chunkSize: number): ChunkAddress {
  const high = view.getUint32(at);
  const address = high * 2 ** 32 + view.getUint32(at + 4);
  if (high > 0x1f_ffff || address % chunkSize !== 0) {
    throw new FormatError("bad-value", "read manifest: an address that is no multiple of the chunk size");
  }
  return address as ChunkAddress;
}
