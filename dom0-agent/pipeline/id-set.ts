// A set of chunk ids for which one id after another is looked up, by all workers at once: sorted in memory that threads
// share, so that handing it over with a job costs nothing.

import { digestBytes } from "../../protocol/archive/types.ts";

/** Ids of 32 bytes, rising, without repetition. */
export type IdSet = Uint8Array;

export function idSet(ids: Iterable<Uint8Array>): IdSet {
  const sorted = [...ids].sort((a, b) => compare(a, 0, b, 0));
  const distinct = sorted.filter((id, i) => i === 0 || compare(id, 0, sorted[i - 1] ?? id, 0) !== 0);
  const set = new Uint8Array(new SharedArrayBuffer(distinct.length * digestBytes));
  for (const [i, id] of distinct.entries()) set.set(id, i * digestBytes);
  return set;
}

/** True when the set has the id that stands at `at` of `ids`. */
export function hasId(set: IdSet, ids: Uint8Array, at: number): boolean {
  let low = 0;
  let high = set.length / digestBytes;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compare(set, middle * digestBytes, ids, at);
    if (order === 0) return true;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}

/** As Buffer.compare: ids mostly differ in their first byte, so a call would cost more than it does. */
function compare(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): number {
  for (let i = 0; i < digestBytes; i++) {
    const difference = (a[aAt + i] ?? 0) - (b[bAt + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
