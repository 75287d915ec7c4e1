// The map of a volume while one walks its sessions from the first on: for each chunk what its record says, in a file
// of fixed width, and two bitmaps: which chunks are no holes, and which have changed since the last session that stays.
// The changed ones are what the next one's merged manifest names. A manifest is read once, whatever is pruned, and
// memory is two bits a chunk (docs/decisions/0007-prune.md says why manifests are not merged side by side).

import { closeSync, rmSync } from "node:fs";
import {
  chunkCount,
  type ChunkEntry,
  type HoleEntry,
  type ManifestEntry,
} from "../../protocol/archive/manifest.ts";
import {
  groupChunks,
  groupCount,
  groupDigest,
  mapIdBytes,
  mapRootOf,
} from "../../protocol/archive/map-root.ts";
import type { ChunkAddress, ChunkId, Digest } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { readAvailable } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface VolumeMap extends Disposable {
  /** The next session's volume has that many bytes. */
  resize(size: number): void;
  /** An entry of its manifest; `container` is the number that the entry's container has in all of the archive. */
  apply(entry: ManifestEntry, container: number): void;
  /** The map root of what has been applied so far. */
  root(): Digest;
  /** What changed since `settle`, in the order of addresses, equal chunks side by side as one. Containers are numbers as
   *  in `apply`. Each is good until the next is asked for. */
  changes(): Generator<ChunkEntry | HoleEntry, void, undefined>;
  /** Nothing counts as changed any more. */
  settle(): void;
}

// Record: container u32 | stored length u32 | stored address, float64 | id 32 | checksum 32.
const recordBytes = 80;
const idAt = 16;
const checksumAt = 48;
/** Records that are written or read at once. */
const blockRecords = 1024;

/** The map of a volume that is all holes, for sizes up to `maxSize` bytes; its file is at `path`. */
export function volumeMap(path: string, chunkSize: number, maxSize: number): VolumeMap {
  const fd = createFile(path);
  const most = chunkCount(maxSize, chunkSize);
  const present = new Uint8Array(Math.ceil(most / 8));
  const changed = new Uint8Array(Math.ceil(most / 8));
  const digests = new Uint8Array(groupCount(maxSize, chunkSize) * mapIdBytes);
  const dirty = new Set<number>();
  let size = 0;
  let chunks = 0;

  const block = new Uint8Array(blockRecords * recordBytes);
  const view = new DataView(block.buffer);
  let blockStart = 0;
  let blockLength = 0;
  const flush = (): void => {
    if (blockLength > 0) writeAll(fd, block.subarray(0, blockLength * recordBytes), blockStart * recordBytes);
    blockLength = 0;
  };
  const put = (chunk: number, entry: ChunkEntry, container: number): void => {
    if (blockLength === blockRecords || chunk !== blockStart + blockLength) {
      flush();
      blockStart = chunk;
    }
    const at = blockLength++ * recordBytes;
    view.setUint32(at, container);
    view.setUint32(at + 4, entry.storedLength);
    view.setFloat64(at + 8, entry.storedAddress);
    block.set(entry.id, at + idAt);
    block.set(entry.checksum, at + checksumAt);
  };
  const readRecords = (target: Uint8Array, start: number): void => {
    // What lies behind the last record that was ever written is not looked at: it belongs to holes.
    readAvailable(fd, target, start * recordBytes, "a map");
  };
  const touch = (start: number, count: number): void => {
    for (let group = Math.floor(start / groupChunks); group * groupChunks < start + count; group++)
      dirty.add(group);
  };

  const groupIds = new Uint8Array(groupChunks * mapIdBytes);
  const groupRecords = new Uint8Array(groupChunks * recordBytes);
  const digestOf = (group: number): Uint8Array => {
    const start = group * groupChunks;
    const count = Math.min(groupChunks, chunks - start);
    groupIds.fill(0);
    readRecords(groupRecords.subarray(0, count * recordBytes), start);
    for (let i = 0; i < count; i++) {
      if (!has(present, start + i)) continue;
      const at = i * recordBytes + idAt;
      groupIds.set(groupRecords.subarray(at, at + mapIdBytes), i * mapIdBytes);
    }
    return groupDigest(group, groupIds.subarray(0, count * mapIdBytes));
  };

  function* changedEntries(): Generator<ChunkEntry | HoleEntry, void, undefined> {
    flush();
    const records = new Uint8Array(blockRecords * recordBytes);
    const recordView = new DataView(records.buffer);
    for (let start = 0; start < chunks; start += blockRecords) {
      const end = Math.min(chunks, start + blockRecords);
      if (isEmpty(changed, start, end)) continue;
      readRecords(records.subarray(0, (end - start) * recordBytes), start);
      for (let chunk = start; chunk < end; chunk++) {
        if (!has(changed, chunk)) continue;
        const address = (chunk * chunkSize) as ChunkAddress;
        if (!has(present, chunk)) {
          yield { kind: "hole", address, run: 1 };
          continue;
        }
        const at = (chunk - start) * recordBytes;
        yield {
          kind: "chunk",
          address,
          run: 1,
          container: recordView.getUint32(at),
          storedLength: recordView.getUint32(at + 4),
          storedAddress: recordView.getFloat64(at + 8) as ChunkAddress,
          id: records.slice(at + idAt, at + checksumAt) as ChunkId,
          checksum: records.slice(at + checksumAt, at + recordBytes) as Digest,
        };
      }
    }
  }

  return {
    resize: (next) => {
      const count = chunkCount(next, chunkSize);
      if (next !== size) {
        const smaller = Math.min(chunks, count);
        if (smaller > 0) touch(smaller - 1, 1);
        touch(smaller, Math.max(chunks, count) - smaller);
      }
      // What a smaller size cuts off is a hole if the volume grows again (F22, F23).
      clear(present, count, chunks);
      clear(changed, count, chunks);
      size = next;
      chunks = count;
    },
    apply: (entry, container) => {
      const start = entry.address / chunkSize;
      touch(start, entry.run);
      set(changed, start, start + entry.run);
      if (entry.kind === "hole") {
        clear(present, start, start + entry.run);
        return;
      }
      set(present, start, start + entry.run);
      for (let i = 0; i < entry.run; i++) put(start + i, entry, container);
    },
    root: () => {
      flush();
      const groups = groupCount(size, chunkSize);
      for (const group of dirty) if (group < groups) digests.set(digestOf(group), group * mapIdBytes);
      dirty.clear();
      return mapRootOf(size, chunkSize, digests.subarray(0, groups * mapIdBytes));
    },
    changes: () => asRuns(changedEntries(), chunkSize),
    settle: () => changed.fill(0),
    [Symbol.dispose]: () => {
      closeSync(fd);
      rmSync(path, { force: true });
    },
  };
}

/** Chunks side by side that are the same stored chunk, and holes side by side, as one entry. */
function* asRuns(
  entries: Iterable<ChunkEntry | HoleEntry>,
  chunkSize: number,
): Generator<ChunkEntry | HoleEntry, void, undefined> {
  let last: ChunkEntry | HoleEntry | undefined;
  for (const entry of entries) {
    const follows = last !== undefined && last.address + last.run * chunkSize === entry.address;
    if (last !== undefined && follows && isSame(last, entry)) last = { ...last, run: last.run + 1 };
    else {
      if (last !== undefined) yield last;
      last = entry;
    }
  }
  if (last !== undefined) yield last;
}

function isSame(a: ChunkEntry | HoleEntry, b: ChunkEntry | HoleEntry): boolean {
  if (a.kind === "hole" || b.kind === "hole") return a.kind === b.kind;
  return a.container === b.container && a.storedAddress === b.storedAddress && equalBytes(a.id, b.id);
}

function has(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

function isEmpty(bits: Uint8Array, from: number, to: number): boolean {
  for (let at = from >> 3; at < Math.ceil(to / 8); at++) if (bits[at] !== 0) return false;
  return true;
}

function set(bits: Uint8Array, from: number, to: number): void {
  each(from, to, (byte, mask) => (bits[byte] = (bits[byte] ?? 0) | mask));
}

function clear(bits: Uint8Array, from: number, to: number): void {
  each(from, to, (byte, mask) => (bits[byte] = (bits[byte] ?? 0) & ~mask));
}

/** The bytes that hold bits `from` up to, not including, `to`, with a mask of these bits. */
function each(from: number, to: number, change: (byte: number, mask: number) => void): void {
  for (let at = from; at < to;) {
    const end = Math.min(to, (at | 7) + 1);
    change(at >> 3, ((1 << (end - at)) - 1) << (at & 7));
    at = end;
  }
}
