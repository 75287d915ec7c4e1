// Which chunks: a bit each. The delta map of a terabyte in chunks of 128 KiB takes a megabyte.

import type { Extent } from "./extent.ts";

export interface Bitmap {
  /** Chunks that it covers. */
  readonly length: number;
  /** Eight chunks a byte, the lowest bit first; bits past the end are zero. */
  readonly bytes: Uint8Array;
}

/** A bitmap of `length` chunks, none of them set, or what `bytes` says. Throws RangeError when they don't fit. */
export function bitmap(length: number, bytes?: Uint8Array): Bitmap {
  const wanted = Math.ceil(length / 8);
  if (bytes === undefined) return { length, bytes: new Uint8Array(wanted) };
  const padding = (bytes[wanted - 1] ?? 0) >> (length % 8 || 8);
  if (bytes.length !== wanted || padding !== 0) {
    throw new RangeError(`bitmap: ${bytes.length} bytes do not hold ${length} bits`);
  }
  return { length, bytes };
}

export function isSet(map: Bitmap, index: number): boolean {
  return ((map.bytes[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

/** Sets the bits from `from` up to, not including, `to`; what lies past the end is left out. */
export function setRange(map: Bitmap, from: number, to: number): void {
  const end = Math.min(to, map.length);
  let at = Math.max(0, from);
  while (at < end && (at & 7) !== 0) setOne(map, at++);
  const wholeBytes = Math.floor((end - at) / 8);
  if (wholeBytes > 0) {
    map.bytes.fill(0xff, at / 8, at / 8 + wholeBytes);
    at += wholeBytes * 8;
  }
  while (at < end) setOne(map, at++);
}

function setOne(map: Bitmap, index: number): void {
  map.bytes[index >> 3] = (map.bytes[index >> 3] ?? 0) | (1 << (index & 7));
}

/** Sets every chunk that `extent` touches. */
export function setExtent(map: Bitmap, extent: Extent, chunkSize: number): void {
  setRange(
    map,
    Math.floor(extent.offset / chunkSize),
    Math.ceil((extent.offset + extent.length) / chunkSize),
  );
}

/** The union of both, as long as the first. */
export function union(a: Bitmap, b: Bitmap): Bitmap {
  const bytes = a.bytes.slice();
  for (let i = 0; i < Math.min(bytes.length, b.bytes.length); i++)
    bytes[i] = (bytes[i] ?? 0) | (b.bytes[i] ?? 0);
  const whole = { length: a.length, bytes };
  clearPadding(whole);
  return whole;
}

/**
 * The bitmap of a volume that had `oldSize` bytes and has `newSize` now. Whatever lies from the chunk that held the
 * smaller end on counts as changed (design section 5: a shrink and a growth can't hide what was between).
 */
export function resized(map: Bitmap, oldSize: number, newSize: number, chunkSize: number): Bitmap {
  const length = Math.ceil(newSize / chunkSize);
  const bytes = new Uint8Array(Math.ceil(length / 8));
  bytes.set(map.bytes.subarray(0, bytes.length));
  const result = { length, bytes };
  clearPadding(result);
  if (oldSize !== newSize) setRange(result, Math.floor(Math.min(oldSize, newSize) / chunkSize), length);
  return result;
}

function clearPadding(map: Bitmap): void {
  const used = map.length & 7;
  const last = map.bytes.length - 1;
  if (used !== 0 && last >= 0) map.bytes[last] = (map.bytes[last] ?? 0) & ((1 << used) - 1);
}

/** How many bits are set. */
export function countSet(map: Bitmap): number {
  let count = 0;
  for (let byte of map.bytes) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}

/** The runs of set bits, in rising order. */
export function* runsOf(map: Bitmap): Generator<{ readonly start: number; readonly count: number }> {
  let at = 0;
  while (at < map.length) {
    const byte = map.bytes[at >> 3] ?? 0;
    if (byte === 0) {
      at = (at | 7) + 1;
      continue;
    }
    if (!isSet(map, at)) {
      at++;
      continue;
    }
    const start = at;
    while (at < map.length && isSet(map, at))
      at = (at & 7) === 0 && map.bytes[at >> 3] === 0xff ? at + 8 : at + 1;
    at = Math.min(at, map.length);
    yield { start, count: at - start };
  }
}
