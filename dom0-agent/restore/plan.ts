// Cuts a map into requests. A window of the volume's addresses at a time, so that memory is bounded; within it the
// chunks are asked for container by container, each in the order of its own addresses, which is how they lie on the
// medium (design section 7). A chunk that the window needs at several places is fetched once.

import { type ChunkEntry, chunkLength } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { maxReadChunks } from "../../protocol/wire/messages.ts";
import { type Bitmap, isSet } from "../delta/bitmap.ts";
import type { ExpectedChunk } from "../../protocol/seal/open-chunk.ts";
import type { MapStep } from "./record-source.ts";

/** A stored chunk, and where in the volume it belongs. */
export interface Fetch extends ExpectedChunk {
  readonly container: number;
  readonly storedAddress: ChunkAddress;
  /** Pairs: address in bytes, and how many times the plaintext stands there, one behind the other. */
  readonly targets: readonly number[];
}

export interface Window {
  /** Bytes of the volume, from the one up to the other. */
  readonly start: number;
  readonly end: number;
  /** Each at most maxReadChunks chunks of one container, by rising stored addresses. */
  readonly requests: readonly (readonly Fetch[])[];
}

export interface PlanOptions {
  /** Of the volume, in bytes, and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
  /** Chunks of a window. */
  readonly windowChunks: number;
  /** Chunks that are wanted; undefined: all. */
  readonly wanted?: Bitmap | undefined;
}

/** Chunks of a window where the target takes them in any order: some megabytes of plan, gigabytes of volume. */
export const wideWindow = 16_384;

/** The windows of a map, in order. Windows without chunks are given as well, with no requests. */
export function* planWindows(steps: Iterable<MapStep>, options: PlanOptions): Generator<Window> {
  const { size, chunkSize, windowChunks, wanted } = options;
  const chunks = Math.ceil(size / chunkSize);
  let first = 0;
  let fetches: Fetch[] = [];
  /** Closes the open window, and whole ones after it, until chunk `at` lies in the open one. */
  function* upTo(at: number): Generator<Window> {
    for (; first < chunks && at >= first + windowChunks; first += windowChunks) {
      const end = Math.min(chunks, first + windowChunks);
      const requests = requestsOf(fetches);
      fetches = [];
      yield { start: first * chunkSize, end: Math.min(size, end * chunkSize), requests };
    }
  }
  for (const { entry, address, run } of steps) {
    if (entry?.kind !== "chunk") continue;
    const end = address / chunkSize + run;
    for (let at = address / chunkSize; at < end; at = Math.min(end, first + windowChunks)) {
      yield* upTo(at);
      addFetches(fetches, entry, at, Math.min(end, first + windowChunks), size, chunkSize, wanted);
    }
  }
  yield* upTo(Number.POSITIVE_INFINITY);
}

function addFetches(
  fetches: Fetch[],
  entry: ChunkEntry,
  start: number,
  end: number,
  size: number,
  chunkSize: number,
  wanted: Bitmap | undefined,
): void {
  const targets: number[] = [];
  for (let at = start; at < end;) {
    const from = at;
    if (wanted === undefined) at = end;
    else while (at < end && isSet(wanted, at)) at++;
    if (at > from) targets.push(from * chunkSize, at - from);
    else at++;
  }
  if (targets.length === 0) return;
  fetches.push({
    container: entry.container,
    storedAddress: entry.storedAddress,
    storedLength: entry.storedLength,
    length: chunkLength(targets[0] ?? 0, size, chunkSize),
    id: entry.id.slice(),
    checksum: entry.checksum.slice(),
    targets,
  });
}

function requestsOf(fetches: Fetch[]): Fetch[][] {
  fetches.sort((a, b) => a.container - b.container || a.storedAddress - b.storedAddress);
  const requests: Fetch[][] = [];
  let open: Fetch[] = [];
  for (const each of fetches) {
    const last = open.at(-1);
    const same = last?.container === each.container;
    if (last !== undefined && same && last.storedAddress === each.storedAddress && sameChunk(last, each)) {
      open[open.length - 1] = { ...last, targets: [...last.targets, ...each.targets] };
      continue;
    }
    // Two records that contradict each other don't fit one request: the one that is wrong is found by its id.
    const rises = last !== undefined && same && last.storedAddress < each.storedAddress;
    if (open.length > 0 && (!rises || open.length === maxReadChunks)) {
      requests.push(open);
      open = [];
    }
    open.push(each);
  }
  if (open.length > 0) requests.push(open);
  return requests;
}

function sameChunk(a: Fetch, b: Fetch): boolean {
  return a.length === b.length && equalBytes(a.id, b.id) && equalBytes(a.checksum, b.checksum);
}
