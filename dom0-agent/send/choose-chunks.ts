// Which chunks a send looks at. What the storage knows to be a hole is never read (facts of the field: that is the
// first win); what lies behind the smaller end of a volume that changed its size is always named in the manifest.

import type { HoleEntry, ManifestEntry } from "../../protocol/archive/manifest.ts";
import { chunkCount } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { type Bitmap, bitmap, runsOf, setExtent, setRange } from "../delta/bitmap.ts";
import type { IdMap } from "../state/id-map.ts";
import type { Extent } from "../delta/extent.ts";

/** Chunks to read, and chunks that are holes without having been read. Disjoint. */
export interface Choice {
  readonly read: Bitmap;
  readonly holes: Bitmap;
}

/** From so many chunks on it pays to ask the storage what is mapped, before reading them: of a whole volume, most of
 *  which may never have been written, and of what a delta map names, most of which has. */
export const askMappedFrom = { whole: 64, delta: 4096 } as const;

/** Every chunk of a volume of `size` bytes. */
export function allChunks(size: number, chunkSize: number): Bitmap {
  const all = bitmap(chunkCount(size, chunkSize));
  setRange(all, 0, all.length);
  return all;
}

/** Of the `candidates`, those in a mapped stretch are read; the others are holes. Without `mapped`, all are read. */
export async function choose(
  candidates: Bitmap,
  mapped: AsyncIterable<Extent> | undefined,
  chunkSize: number,
): Promise<Choice> {
  if (mapped === undefined) return { read: candidates, holes: bitmap(candidates.length) };
  const present = bitmap(candidates.length);
  for await (const extent of mapped) setExtent(present, extent, chunkSize);
  const read = bitmap(candidates.length);
  const holes = bitmap(candidates.length);
  for (let i = 0; i < candidates.bytes.length; i++) {
    const wanted = candidates.bytes[i] ?? 0;
    read.bytes[i] = wanted & (present.bytes[i] ?? 0);
    holes.bytes[i] = wanted & ~(present.bytes[i] ?? 0);
  }
  return { read, holes };
}

/**
 * The holes that the manifest has to name, in rising order: those where the last session had a chunk, or had nothing
 * because the volume was smaller. `full` sends name none: what a first manifest does not mention is a hole.
 */
export function* holeEntries(
  holes: Bitmap,
  map: IdMap,
  chunkSize: number,
  full: boolean,
): Generator<HoleEntry> {
  if (full) return;
  const step = 4096;
  for (const { start, count } of runsOf(holes)) {
    for (let at = start; at < start + count; at += step) {
      const end = Math.min(at + step, start + count);
      const known = Math.max(0, Math.min(end, map.chunks) - at);
      const ids = map.read(at, known);
      let from = -1;
      for (let index = at; index <= end; index++) {
        const named = index < end && (index - at >= known || hasId(ids, index - at));
        if (named && from < 0) from = index;
        if (!named && from >= 0) {
          yield { kind: "hole", address: (from * chunkSize) as ChunkAddress, run: index - from };
          from = -1;
        }
      }
    }
  }
}

function hasId(ids: Uint8Array, index: number): boolean {
  for (let i = index * 32; i < index * 32 + 32; i++) if (ids[i] !== 0) return true;
  return false;
}

/** Hands out the entries of a rising sequence up to a given chunk: how two rising sequences become one. */
export function upTo<Entry extends ManifestEntry>(
  entries: Iterator<Entry>,
  chunkSize: number,
): (chunk: number) => Entry[] {
  let next = entries.next();
  return (chunk) => {
    const found: Entry[] = [];
    while (next.done !== true && next.value.address < chunk * chunkSize) {
      found.push(next.value);
      next = entries.next();
    }
    return found;
  };
}
