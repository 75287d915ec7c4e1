// One manifest as a source of entries: its digest is checked over all of it before the first record is used, and then
// it is read a small stretch at a time, whatever its size (design section 7).

import { closeSync } from "node:fs";
import { createHash } from "node:crypto";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import {
  type ContainerRef,
  type ManifestEntry,
  type OpenManifest,
  openManifest,
  type RecordBounds,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import type { EntrySource } from "../../protocol/archive/merge.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import {
  type ArchiveUuid,
  type Digest,
  digestBytes,
  type Generation,
  type SessionUid,
  type VolumeId,
} from "../../protocol/archive/types.ts";
import { reading } from "./errors.ts";
import { readFully } from "./files.ts";

/** A stretch of an open file that holds one structure: a file of its own, or a member of a tar. */
export interface FileRange {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
  /** For messages. */
  readonly path: string;
}

/** What the index says of a manifest. */
export interface ExpectedManifest {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly session: SessionUid;
  readonly generation: Generation;
  readonly digest: Digest;
  readonly chunkSize: number;
}

/** A source that holds a file open until it is closed. */
export interface OpenSource extends EntrySource {
  /** Idempotent. */
  close(): void;
}

/** Bytes read at once: a whole number of records, just below 64 KiB. */
const stretchBytes: number = Math.floor(65_536 / recordBytes) * recordBytes;
const hashBytes = 256 * 1024;

/**
 * The entries of the manifest in `range`, with container numbers from `numberOf` instead of its own (0, its own
 * session, included). Takes over the file descriptor. An entry's id and checksum are valid until the next call.
 * Throws AssembleError `corrupt-manifest`, `newer-format`, `io`.
 */
export function manifestSource(
  range: FileRange,
  expected: ExpectedManifest,
  numberOf: (ref: ContainerRef) => number,
  opener: BodyOpener | undefined,
): OpenSource {
  const guarded = <T>(read: () => T): T =>
    reading("manifest", range.path, { corrupt: "corrupt-manifest" }, read);
  try {
    const manifest = guarded(() => checkedManifest(range, expected, opener));
    const own = numberOf({ volume: expected.volume, session: expected.session });
    const numbers = Uint32Array.from([own, ...manifest.containers.map(numberOf)]);
    // The table is not kept: it may be a hundred times what a manifest takes otherwise.
    const { size, chunkSize, records: count, readRecords } = manifest;
    const bounds = {
      size,
      chunkSize,
      records: count,
      readRecords,
      containers: { length: numbers.length - 1 },
    };
    const records = recordSource(bounds, () => closeSync(range.fd));
    return {
      next: () => {
        const entry = guarded(() => records.next());
        return entry?.kind === "chunk" ? { ...entry, container: numbers[entry.container] ?? 0 } : entry;
      },
      close: () => records.close(),
    };
  } catch (error) {
    closeSync(range.fd);
    throw error;
  }
}

function checkedManifest(
  range: FileRange,
  expected: ExpectedManifest,
  opener: BodyOpener | undefined,
): OpenManifest {
  const { digest, session, chunkSize, ...of } = expected;
  if (range.length < digestBytes) throw new FormatError("truncated", `${range.length} bytes are no manifest`);
  const end = range.offset + range.length - digestBytes;
  // First, so that a file of any length that is not the one costs nothing.
  const found = new Uint8Array(digestBytes);
  readFully(range.fd, found, end);
  if (!equalBytes(found, digest)) {
    throw new FormatError("bad-digest", "its digest is not the one that the index names");
  }
  const hash = createHash("sha256");
  const buffer = new Uint8Array(hashBytes);
  for (let at = range.offset; at < end; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, end - at));
    readFully(range.fd, part, at);
    hash.update(part);
  }
  if (!equalBytes(found, hash.digest()))
    throw new FormatError("bad-digest", "its digest does not fit its bytes");
  const file = {
    length: range.length,
    read: (into: Uint8Array, at: number) => readFully(range.fd, into, range.offset + at),
  };
  const manifest = openManifest(file, of, opener);
  if (!equalBytes(manifest.session, session))
    throw new FormatError("bad-value", "it belongs to another session");
  if (manifest.chunkSize !== chunkSize) {
    throw new FormatError(
      "bad-value",
      `chunks of ${manifest.chunkSize} bytes, wanted ${chunkSize} as in the archive`,
    );
  }
  return manifest;
}

/** Records that can be read a stretch at a time, and what they are checked against. */
type Records = RecordBounds & Pick<OpenManifest, "records" | "readRecords">;

/** Entries of `from`, a stretch of records at a time. `close` is called once. */
export function recordSource(from: Records, close: () => void): OpenSource {
  const { records: count } = from;
  const reader = recordReader(from);
  const buffer = new Uint8Array(Math.min(stretchBytes, count * recordBytes));
  let entries: readonly ManifestEntry[] = [];
  let next = 0;
  let done = 0;
  let open = true;
  return {
    next: () => {
      if (next === entries.length) {
        if (done === count) return undefined;
        const stretch = buffer.subarray(0, Math.min(buffer.length, (count - done) * recordBytes));
        from.readRecords(stretch, done);
        entries = reader.read(stretch);
        next = 0;
        done += entries.length;
      }
      return entries[next++];
    },
    close: () => {
      if (open) close();
      open = false;
    },
  };
}
