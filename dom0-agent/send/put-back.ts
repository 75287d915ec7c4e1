// What a send of a volume puts back: chunks that the archive has lost and this volume may still hold. Where it held them
// at its last session, the map of that session says; where they came since, the delta map says, and they are read anyway.

import { groupChunks, mapIdBytes } from "../../protocol/archive/map-root.ts";
import { chunkCount } from "../../protocol/archive/manifest.ts";
import { type Bitmap, bitmap, setRange, union } from "../delta/bitmap.ts";
import { hasId, type IdSet, idSet } from "../pipeline/id-set.ts";
import { placeOf } from "../archive/group-index.ts";
import type { ChunkIndex } from "../state/chunk-index.ts";
import type { IdMap } from "../state/id-map.ts";
import type { LostPlaces } from "../state/lost-places.ts";

/** The ids of lost chunks of which the group has no other copy; undefined where there are none. `index` was made without
 *  the lost places. Throws DamagedTableError. */
export function idsToPutBack(lost: LostPlaces, index: ChunkIndex): IdSet | undefined {
  const missing = lost.chunks.filter(({ id }) => placeOf(index, id) === undefined);
  return missing.length === 0 ? undefined : idSet(missing.map((each) => each.id));
}

/** `candidates`, and the chunks that had one of these ids in the last session. Throws DamagedStateError where the map does
 *  not fit its digests. */
export function withLost(
  candidates: Bitmap,
  map: IdMap,
  putBack: IdSet | undefined,
  { size, chunkSize }: { readonly size: number; readonly chunkSize: number },
): Bitmap {
  if (putBack === undefined) return candidates;
  const chunks = Math.min(map.chunks, chunkCount(size, chunkSize));
  const groups = Math.ceil(chunks / groupChunks);
  map.verify(Array.from({ length: groups }, (_, group) => group));
  const found = bitmap(candidates.length);
  for (let start = 0; start < chunks; start += groupChunks) {
    const count = Math.min(groupChunks, chunks - start);
    const ids = map.read(start, count);
    for (let i = 0; i < count; i++)
      if (hasId(putBack, ids, i * mapIdBytes)) setRange(found, start + i, start + i + 1);
  }
  return union(candidates, found);
}
