// The work is cut into jobs: a few chunks in the order of their addresses, which one worker reads, checks and opens
// into one shared buffer, its slot. Between its chunks there may be holes; only the main thread deals with those.

import { chunkLength } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress, ChunkId, Digest } from "../../protocol/archive/types.ts";
import type { AssembleErrorCode } from "./errors.ts";
import type { ChunkKeys } from "./open-keys.ts";
import type { MapStep } from "./spool.ts";
import type { Place } from "./places.ts";

export interface JobChunk {
  readonly address: ChunkAddress;
  /** How many times the plaintext stands in the image, one behind the other. */
  readonly run: number;
  /** Bytes of the plaintext. */
  readonly length: number;
  /** Index in the job's `places`. */
  readonly place: number;
  readonly storedAddress: ChunkAddress;
  readonly storedLength: number;
  readonly id: ChunkId;
  readonly checksum: Digest;
}

/** Zeros, and the data behind them. */
export interface Stretch {
  readonly hole: number;
  readonly data: number;
}

export interface Job {
  /** Byte of the image that it begins at, its first hole included. */
  readonly start: number;
  /** In the order of their addresses; together they fit a slot. */
  readonly chunks: readonly JobChunk[];
  readonly places: readonly Place[];
  /** The part of the image from `start` on that it makes: chunks side by side are one stretch. */
  readonly stretches: readonly Stretch[];
}

/** What every worker is started with. */
export interface WorkerSetup {
  readonly keys: ChunkKeys;
  readonly slots: readonly SharedArrayBuffer[];
  /** The image, written at each chunk's address; undefined where the main thread passes the data on. */
  readonly outputFd: number | undefined;
  readonly outputPath: string;
}

export interface WorkerRequest {
  readonly number: number;
  readonly slot: number;
  readonly chunks: readonly JobChunk[];
  readonly places: readonly Place[];
}

/** Asks a worker to leave; it is the last thing that it is told. */
export const stopRequest = "stop";

export interface WorkerAnswer {
  readonly number: number;
  readonly failure:
    | { readonly code: AssembleErrorCode; readonly message: string; readonly hint: string | undefined }
    | undefined;
}

/** Bytes of a slot: several chunks, or one large one. */
export function slotBytes(chunkSize: number): number {
  return Math.max(chunkSize, 1024 * 1024);
}

/** Cuts a map into jobs that cover the whole image in order. `placeOf` gives the place of a container's number. */
export function* planJobs(
  steps: Iterable<MapStep>,
  of: { readonly size: number; readonly chunkSize: number },
  placeOf: (container: number) => Place,
): Generator<Job, void, undefined> {
  const room = slotBytes(of.chunkSize) / of.chunkSize;
  let start = 0;
  let at = 0;
  let hole = 0;
  let taken = 0;
  let chunks: JobChunk[] = [];
  let places: Place[] = [];
  let stretches: { hole: number; data: number }[] = [];

  const close = (): Job => {
    const job = { start, chunks, places, stretches };
    start = at;
    taken = 0;
    [chunks, places, stretches] = [[], [], []];
    return job;
  };
  const addData = (bytes: number): void => {
    const last = stretches.at(-1);
    if (last === undefined || hole > 0) stretches.push({ hole, data: bytes });
    else last.data += bytes;
    hole = 0;
    at += bytes;
  };

  for (const { entry, address, run } of steps) {
    if (entry?.kind !== "chunk") {
      const bytes = Math.min(of.size, address + run * of.chunkSize) - address;
      hole += bytes;
      continue;
    }
    const wanted = placeOf(entry.container);
    for (let left = run, from: number = address; left > 0;) {
      // A last chunk that is short never counts as equal to whole ones: if a run reaches it, its id won't fit.
      const whole = Math.floor((of.size - from) / of.chunkSize);
      const count = Math.min(left, room - taken, Math.max(1, whole));
      const length = chunkLength(from, of.size, of.chunkSize);
      if (!places.includes(wanted)) places.push(wanted);
      chunks.push({
        address: from as ChunkAddress,
        run: count,
        length,
        place: places.indexOf(wanted),
        storedAddress: entry.storedAddress,
        storedLength: entry.storedLength,
        id: entry.id.slice() as ChunkId,
        checksum: entry.checksum.slice() as Digest,
      });
      at += hole;
      addData(Math.min(of.size, from + count * of.chunkSize) - from);
      from += count * of.chunkSize;
      left -= count;
      taken += count;
      if (taken === room) yield close();
    }
  }
  if (hole > 0) {
    at += hole;
    stretches.push({ hole, data: 0 });
  }
  if (stretches.length > 0) yield close();
}
