// The passes over a volume that need nothing from the archive but its map: which chunks are not what the map says, and
// zeros where it says hole.

import { mapIdBytes } from "../../protocol/archive/map-root.ts";
import { type Bitmap, bitmap, isSet, setRange } from "../delta/bitmap.ts";
import type { Crew } from "./crew.ts";
import type { Stretch } from "./job.ts";
import type { SessionMap } from "./session-map.ts";

/** Chunks of one job. */
const jobChunks = 32;

export interface PassOptions {
  readonly crew: Crew;
  readonly map: SessionMap;
  readonly fd: number;
  /** Bytes that have been looked at. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/**
 * The chunks of `fd`, up to `chunks` of them, whose id is not the one that the map has; what lies behind counts as
 * differing. Nothing that is there is trusted: every byte is read (facts of the field: a local base was once trusted).
 */
export async function differingFromMap(on: PassOptions, chunks: number): Promise<Bitmap> {
  const { crew, map, fd } = on;
  const { chunkSize, size } = map;
  const differing = bitmap(Math.ceil(size / chunkSize));
  const limit = Math.min(chunks, differing.length);
  setRange(differing, limit, differing.length);
  let slot: number | undefined;
  let first = 0;
  let count = 0;
  let looked = 0;

  const flush = async (): Promise<void> => {
    if (slot === undefined) return;
    const stretch = { first, count };
    const job = { kind: "ids", slot, fd, stretch } as const;
    slot = undefined;
    first += count;
    count = 0;
    await crew.submit(job, (result) => {
      setPairs(differing, result.differing);
      looked += stretch.count;
      on.onProgress?.(Math.min(size, looked * chunkSize));
    });
  };
  for (const { entry, address, run } of map.steps()) {
    const start = address / chunkSize;
    for (let at = start; at < Math.min(limit, start + run); at++) {
      on.signal.throwIfAborted();
      slot ??= await crew.takeSlot();
      const ids = crew.slots[slot];
      if (entry?.kind === "chunk") ids?.set(entry.id, count * mapIdBytes);
      else ids?.fill(0, count * mapIdBytes, (count + 1) * mapIdBytes);
      count++;
      if (count === jobChunks) await flush();
    }
  }
  await flush();
  await crew.drained();
  return differing;
}

/** Reads what the map says are holes, of the `wanted` chunks, and with `fix` writes zeros where there are none. Gives
 *  where that was not so, and the bytes written. */
export async function checkHoles(
  on: PassOptions & { readonly wanted?: Bitmap | undefined; readonly fix: boolean },
): Promise<{ readonly differing: Bitmap; readonly written: number }> {
  const { crew, map, fd, fix, wanted } = on;
  const { chunkSize, size } = map;
  const differing = bitmap(Math.ceil(size / chunkSize));
  let written = 0;
  let looked = 0;
  for (const { first, count } of holeStretches(map, wanted)) {
    for (let at = first; at < first + count; at += jobChunks) {
      on.signal.throwIfAborted();
      const stretch = { first: at, count: Math.min(jobChunks, first + count - at) };
      await crew.submit({ kind: "zeros", fd, stretch, fix }, (result) => {
        setPairs(differing, result.differing);
        written += result.written;
        looked += stretch.count;
        on.onProgress?.(Math.min(size, looked * chunkSize));
      });
    }
  }
  await crew.drained();
  return { differing, written };
}

/** The holes of a map, of the `wanted` chunks or of all: each as long as it is, in rising order. */
export function* holeStretches(map: SessionMap, wanted: Bitmap | undefined): Generator<Stretch> {
  let first = 0;
  let count = 0;
  for (const { entry, address, run } of map.steps()) {
    if (entry?.kind === "chunk") continue;
    const start = address / map.chunkSize;
    for (let at = start; at < start + run;) {
      const length = wantedRun(wanted, at, start + run);
      if (length > 0 && at === first + count) count += length;
      else if (length > 0) {
        if (count > 0) yield { first, count };
        [first, count] = [at, length];
      }
      at += Math.max(1, length);
    }
  }
  if (count > 0) yield { first, count };
}

/** How many chunks from `first` on, before `end`, are wanted. */
function wantedRun(wanted: Bitmap | undefined, first: number, end: number): number {
  if (wanted === undefined) return end - first;
  let at = first;
  while (at < end && isSet(wanted, at)) at++;
  return at - first;
}

/** Sets pairs of first chunk and count. */
export function setPairs(map: Bitmap, pairs: readonly number[]): void {
  for (let i = 0; i < pairs.length; i += 2) {
    const first = pairs[i] ?? 0;
    setRange(map, first, first + (pairs[i + 1] ?? 0));
  }
}
