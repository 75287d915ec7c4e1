// From the manifests of sessions, each a list of differences, to the map of one of them. Works on entries in the
// order of their addresses and keeps one entry per source, so memory follows the number of sessions and not their
// size. Newer sources hide older ones, chunk by chunk.

import { chunkCount, type ManifestEntry } from "./manifest.ts";
import type { ChunkAddress } from "./types.ts";

/** One manifest's entries in rising order. `next` gives undefined behind the last. */
export interface EntrySource<Entry extends ManifestEntry = ManifestEntry> {
  next(): Entry | undefined;
}

/**
 * Walks the map that results from `newestFirst`: entries that cover the volume from 0 to its end without gap or
 * overlap. Stretches that no source mentions come out as holes. What reaches past `size` (a larger, older session)
 * is cut off.
 */
export function* mergeManifests<Entry extends ManifestEntry>(
  newestFirst: readonly EntrySource<Entry>[],
  size: number,
  chunkSize: number,
): Generator<{ readonly entry: Entry | undefined; readonly address: ChunkAddress; readonly run: number }> {
  const end = chunkCount(size, chunkSize);
  const current = newestFirst.map((source) => source.next());
  const first = (entry: Entry): number => entry.address / chunkSize;
  let at = 0;
  while (at < end) {
    let chosen: Entry | undefined;
    let until = end;
    for (let i = 0; i < current.length; i++) {
      let entry = current[i];
      while (entry !== undefined && first(entry) + entry.run <= at) {
        entry = newestFirst[i]?.next();
        current[i] = entry;
      }
      if (entry === undefined) continue;
      if (first(entry) > at) {
        until = Math.min(until, first(entry));
        continue;
      }
      chosen = entry;
      until = Math.min(until, first(entry) + entry.run);
      break;
    }
    yield { entry: chosen, address: (at * chunkSize) as ChunkAddress, run: until - at };
    at = until;
  }
}
