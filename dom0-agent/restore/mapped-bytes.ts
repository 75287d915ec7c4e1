// How much a restore will map, for the look at the free space before it.

import { type Bitmap, isSet } from "../delta/bitmap.ts";
import type { SessionMap } from "./session-map.ts";

/** Bytes of pieces of `pieceSize` that hold data of the map: all of it, or of the `wanted` chunks. */
export function mappedBytes(map: SessionMap, pieceSize: number, wanted?: Bitmap): number {
  const { chunkSize, size } = map;
  let pieces = 0;
  let behind = 0;
  const add = (from: number, to: number): void => {
    const first = Math.max(behind, Math.floor(from / pieceSize));
    const end = Math.ceil(Math.min(to, size) / pieceSize);
    if (end <= first) return;
    pieces += end - first;
    behind = end;
  };
  for (const { entry, address, run } of map.steps()) {
    if (entry?.kind !== "chunk") continue;
    if (wanted === undefined) add(address, address + run * chunkSize);
    else {
      const first = address / chunkSize;
      for (let at = first; at < first + run; at++)
        if (isSet(wanted, at)) add(at * chunkSize, (at + 1) * chunkSize);
    }
  }
  return pieces * pieceSize;
}
