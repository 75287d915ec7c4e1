// Deduplication, the worker's part: a chunk that is stored already is found by its id before anything is compressed.

import type { ChunkId } from "../../protocol/archive/types.ts";
import { type ChunkPlace, DamagedTableError, findChunk, pageBytes } from "../state/chunk-table.ts";
import type { Lookup } from "./job.ts";

const page = new Uint8Array(pageBytes);

/** The place of `id` in the first table that has it, under its number among all tables. A page that can't be used
 *  counts as one without the chunk, which is then stored once more: nothing depends on a table but space. */
export function lookUp(
  lookups: readonly Lookup[],
  id: ChunkId,
  noted: { tableDamaged: boolean },
): ChunkPlace | undefined {
  for (const { table, numbersFrom, growing } of lookups) {
    try {
      const place = findChunk(table, id, page);
      if (place === undefined) continue;
      return { ...place, container: place.container === 0 ? 0 : place.container + numbersFrom };
    } catch (error) {
      if (!(error instanceof DamagedTableError)) throw error;
      if (!growing) noted.tableDamaged = true;
    }
  }
  return undefined;
}
