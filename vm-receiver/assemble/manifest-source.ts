// One manifest as a source of entries: its digest is checked over all of it before the first record is used, and then
// it is read a small stretch at a time, whatever its size (design section 7).

import { closeSync } from "node:fs";
import { createHash } from "node:crypto";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import {
  type ContainerRef,
  decodeManifestHead,
  type DecodedManifestHead,
  type ManifestEntry,
  maxContainers,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import type { EntrySource } from "../../protocol/archive/merge.ts";
import { prefixBytes } from "../../protocol/archive/prefix.ts";
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
): OpenSource {
  const guarded = <T>(read: () => T): T =>
    reading("manifest", range.path, { corrupt: "corrupt-manifest" }, read);
  try {
    const head = guarded(() => checkedHead(range, expected));
    const own = numberOf({ volume: expected.volume, session: expected.session });
    const numbers = Uint32Array.from([own, ...head.containers.map(numberOf)]);
    const records = recordSource(range.fd, range.offset + head.recordsAt, head.records, {
      size: head.size,
      chunkSize: head.chunkSize,
      containers: head.containers,
    });
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

function checkedHead(range: FileRange, expected: ExpectedManifest): DecodedManifestHead {
  const { digest, session, chunkSize, ...of } = expected;
  if (range.length < digestBytes) throw new FormatError("truncated", `${range.length} bytes are no manifest`);
  const end = range.offset + range.length - digestBytes;
  const hash = createHash("sha256");
  const buffer = new Uint8Array(hashBytes);
  for (let at = range.offset; at < end; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, end - at));
    readFully(range.fd, part, at);
    hash.update(part);
  }
  const found = new Uint8Array(digestBytes);
  readFully(range.fd, found, end);
  if (!equalBytes(found, digest)) {
    throw new FormatError("bad-digest", "its digest is not the one that the index names");
  }
  if (!equalBytes(found, hash.digest()))
    throw new FormatError("bad-digest", "its digest does not fit its bytes");
  const head = decodeManifestHead(readHead(range), range.length, of);
  if (!equalBytes(head.session, session)) throw new FormatError("bad-value", "it belongs to another session");
  if (head.chunkSize !== chunkSize) {
    throw new FormatError(
      "bad-value",
      `chunks of ${head.chunkSize} bytes, wanted ${chunkSize} as in the archive`,
    );
  }
  return head;
}

/** The bytes up to the first record: the table's length stands at a fixed place. */
function readHead(range: FileRange): Uint8Array {
  const fixed = prefixBytes + 16 + 8 + 4 + 4;
  const start = new Uint8Array(Math.min(fixed, range.length));
  readFully(range.fd, start, range.offset);
  if (start.length < fixed) return start;
  const count = new DataView(start.buffer).getUint32(fixed - 4);
  const whole = new Uint8Array(Math.min(range.length, fixed + Math.min(count, maxContainers) * 32 + 8));
  readFully(range.fd, whole, range.offset);
  return whole;
}

/** Reads `count` records from byte `offset` of `fd`, a stretch at a time. Closing it closes `fd`. */
export function recordSource(
  fd: number,
  offset: number,
  count: number,
  of: Parameters<typeof recordReader>[0],
): OpenSource {
  const reader = recordReader(of);
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
        readFully(fd, stretch, offset + done * recordBytes);
        entries = reader.read(stretch);
        next = 0;
        done += entries.length;
      }
      return entries[next++];
    },
    close: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
