// The holes of a map in a volume that holds something already: given back to the storage, as far as they are whole pieces
// of it, so that the restored volume occupies what its data does. What stays is zeroed by the pass behind this one
// (passes.ts), which reads every hole.

import type { Bitmap } from "../delta/bitmap.ts";
import { punchFor } from "../storage/punch.ts";
import type { Extent } from "../delta/extent.ts";
import { holeStretches } from "./passes.ts";
import type { SessionMap } from "./session-map.ts";

/** Stretches that are given back at a time. */
const batch = 4096;

/** Gives back the holes in `fd`, of the `wanted` chunks or of all. Gives the bytes of them. */
export async function punchHoles(on: {
  readonly map: SessionMap;
  readonly fd: number;
  readonly wanted: Bitmap | undefined;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { map, fd, wanted, signal } = on;
  const { granularity, giveBack } = await punchFor(fd);
  let bytes = 0;
  let gathered: Extent[] = [];
  const flush = async (): Promise<boolean> => {
    signal.throwIfAborted();
    const done = gathered.length === 0 || (await giveBack(gathered));
    if (done) for (const { length } of gathered) bytes += length;
    gathered = [];
    return done;
  };
  for (const { first, count } of holeStretches(map, wanted)) {
    const from = Math.ceil((first * map.chunkSize) / granularity) * granularity;
    const end = Math.min(map.size, (first + count) * map.chunkSize);
    const to = Math.floor(end / granularity) * granularity;
    if (to > from) gathered.push({ offset: from, length: to - from });
    if (gathered.length === batch && !(await flush())) return bytes;
  }
  await flush();
  return bytes;
}
