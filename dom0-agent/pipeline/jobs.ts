// From the chunks that are to be looked at to jobs for the workers.

import { type Bitmap, runsOf } from "../delta/bitmap.ts";
import { chunksPerJob } from "./job.ts";

/** The set chunks of `chosen` as jobs, in rising order; each is pairs of first index and count. */
export function* jobsOf(chosen: Bitmap, chunkSize: number): Generator<Float64Array> {
  const most = chunksPerJob(chunkSize);
  let pairs: number[] = [];
  let chunks = 0;
  for (const { start, count } of runsOf(chosen)) {
    for (let at = start; at < start + count;) {
      const take = Math.min(most - chunks, start + count - at);
      pairs.push(at, take);
      chunks += take;
      at += take;
      if (chunks === most) {
        yield Float64Array.from(pairs);
        pairs = [];
        chunks = 0;
      }
    }
  }
  if (pairs.length > 0) yield Float64Array.from(pairs);
}
