// The lists of a group's containers, each fetched and checked against its index, with their records in one file in which
// a chunk is found by its address. Memory: eight bytes for each thousand chunks, a bit for each, and a few blocks.

import { createHash } from "node:crypto";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import {
  type ListEntry,
  listHeadBytes,
  listLength,
  listRecordBytes,
  listTailBytes,
  readListRecord,
} from "../../protocol/archive/list-file.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { type ChunkAddress, digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Bitmap, bitmap, countSet, isSet, setRange } from "../delta/bitmap.ts";
import { AgentError } from "../errors.ts";
import { type NamelessFile, namelessFile } from "../restore/nameless-file.ts";
import { metaOf, type OpenArchive, verified } from "../archive/archive.ts";

/** One container's list. */
export interface ChunkList {
  readonly chunks: number;
  /** undefined: it does not name such a chunk. */
  find(address: ChunkAddress): ListEntry | undefined;
  /** A manifest names the chunk. */
  mark(address: ChunkAddress): void;
  isMarked(address: ChunkAddress): boolean;
  /** Chunks that no manifest has named so far. */
  unmarked(): number;
}

export interface ListStore extends Disposable {
  /** Fetches a container's list. Throws AgentError `integrity` where it is missing or not the one that the index names. */
  fetch(open: OpenArchive, index: VolumeIndex, container: Container): Promise<ChunkList>;
}

/** Records of a block, which is read at once, and blocks that are kept. */
const blockRecords = 1024;
const blockBytes = blockRecords * listRecordBytes;
const mostBlocks = 64;

/** An empty store, with its file in `directory`. */
export function listStore(directory: string): ListStore {
  const file = namelessFile(directory);
  const kept = new Map<number, Uint8Array>();
  const blockAt = (offset: number, length: number): Uint8Array => {
    const known = kept.get(offset);
    if (known !== undefined) return known;
    const [oldest] = kept.keys();
    if (kept.size >= mostBlocks && oldest !== undefined) kept.delete(oldest);
    const block = new Uint8Array(length);
    file.read(block, offset);
    kept.set(offset, block);
    return block;
  };
  return {
    fetch: async (open, index, container) => {
      const what = `${index.name}: list of ${container.name}`;
      const start = file.length();
      const name = metaOf("list", container.listGeneration, index.volume, container.uid);
      const length = await open.client.read(name, listLength(container.chunks), (bytes) =>
        file.append(bytes),
      );
      if (length === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
      const records = verified(what, () => checkedRecords(file, start, length, index, container));
      if (records === undefined)
        throw new AgentError("integrity", `${what}: it is not the one that the index names`);
      return chunkList(file, start + listHeadBytes, records, blockAt);
    },
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}

/** How many records the list at `start` has; undefined where it is another one. Throws FormatError. */
function checkedRecords(
  file: NamelessFile,
  start: number,
  length: number,
  index: VolumeIndex,
  container: Container,
): number | undefined {
  const end = length - digestBytes;
  const bytes = length - listHeadBytes - listTailBytes;
  if (bytes < 0 || bytes % listRecordBytes !== 0) return undefined;
  const hash = createHash("sha256");
  const part = new Uint8Array(1024 * 1024);
  for (let at = 0; at < end; at += part.length) {
    const some = part.subarray(0, Math.min(part.length, end - at));
    file.read(some, start + at);
    hash.update(some);
  }
  const digest = new Uint8Array(digestBytes);
  file.read(digest, start + end);
  if (!equalBytes(digest, container.listDigest) || !equalBytes(hash.digest(), digest)) return undefined;
  const head = new Uint8Array(listHeadBytes);
  file.read(head, start);
  expectPrefix(decodePrefix(head), { kind: "list", archive: index.archive, volume: index.volume });
  if (!equalBytes(head.subarray(prefixBytes), container.uid)) return undefined;
  return bytes / listRecordBytes;
}

/** A record: its block, which it is there, and which of all. */
interface Place {
  readonly block: Uint8Array;
  readonly at: number;
  readonly number: number;
}

function chunkList(
  file: NamelessFile,
  start: number,
  records: number,
  blockAt: (offset: number, length: number) => Uint8Array,
): ChunkList {
  // The first address of each block.
  const fences = new Float64Array(Math.ceil(records / blockRecords));
  const record = new Uint8Array(listRecordBytes);
  for (const i of fences.keys()) {
    file.read(record, start + i * blockBytes);
    fences[i] = readListRecord(record).address;
  }
  const marked: Bitmap = bitmap(records);
  const place = (address: ChunkAddress): Place | undefined => {
    const first = lastUpTo(fences.length, (i) => fences[i] ?? 0, address);
    if (first < 0) return undefined;
    const count = Math.min(blockRecords, records - first * blockRecords);
    const block = blockAt(start + first * blockBytes, count * listRecordBytes);
    const view = new DataView(block.buffer);
    const addressAt = (i: number): number =>
      view.getUint32(i * listRecordBytes) * 2 ** 32 + view.getUint32(i * listRecordBytes + 4);
    const at = lastUpTo(count, addressAt, address);
    if (at < 0 || addressAt(at) !== address) return undefined;
    return { block, at, number: first * blockRecords + at };
  };
  return {
    chunks: records,
    find: (address) => {
      const found = place(address);
      if (found === undefined) return undefined;
      const { block, at } = found;
      return readListRecord(block.subarray(at * listRecordBytes, (at + 1) * listRecordBytes));
    },
    mark: (address) => {
      const found = place(address);
      if (found !== undefined) setRange(marked, found.number, found.number + 1);
    },
    isMarked: (address) => {
      const found = place(address);
      return found !== undefined && isSet(marked, found.number);
    },
    unmarked: () => records - countSet(marked),
  };
}

/** The last of `count` rising values that is not above `wanted`; -1: none. */
function lastUpTo(count: number, valueAt: (i: number) => number, wanted: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (valueAt(middle) <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
