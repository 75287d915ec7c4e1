// Which chunks of a volume can't be restored, from its first session on: what a session does not name anew it has from
// the one before it, damage included.

import { type Bitmap, bitmap, resized, setRange } from "../delta/bitmap.ts";

export interface DamageMap {
  /** The chunks of the session at hand. */
  readonly damaged: Bitmap;
  /** Goes on to the next session, of `size` bytes. */
  next(size: number): void;
  /** Its manifest names the chunks anew: `run` of them from number `first` on, which can be restored or can't. */
  name(first: number, run: number, isLost: boolean): void;
  /** These can't be restored either. */
  add(chunks: Bitmap): void;
}

export function damageMap(chunkSize: number): DamageMap {
  let damaged = bitmap(0);
  let size = 0;
  return {
    get damaged() {
      return damaged;
    },
    next: (newSize) => {
      const next = resized(damaged, size, newSize, chunkSize);
      // Shrunk and grown again, all that is behind the smaller end is named anew: nothing of it is inherited.
      if (size !== newSize) clear(next, Math.floor(Math.min(size, newSize) / chunkSize), next.length);
      damaged = next;
      size = newSize;
    },
    name: (first, run, isLost) => {
      if (isLost) setRange(damaged, first, first + run);
      else clear(damaged, first, run);
    },
    add: (chunks) => {
      for (const [i, byte] of chunks.bytes.entries()) damaged.bytes[i] = (damaged.bytes[i] ?? 0) | byte;
    },
  };
}

function clear(map: Bitmap, first: number, count: number): void {
  const end = Math.min(map.length, first + count);
  for (let at = first; at < end; at++) map.bytes[at >> 3] = (map.bytes[at >> 3] ?? 0) & ~(1 << (at & 7));
}
