// What the worker threads of a restore are asked for, and what they answer. Data lies in shared buffers, slots; the rest
// is plain data.

import type { ChunkKeys } from "../keys/archive-seal.ts";
import type { ExpectedChunk } from "../../protocol/seal/open-chunk.ts";

/** What becomes of a chunk's plaintext. */
export type Use =
  /** Nothing: it is only checked. */
  | { readonly kind: "check" }
  /** It is written at its addresses. */
  | { readonly kind: "write"; readonly fd: number }
  /** It is compared with what is there. */
  | { readonly kind: "compare"; readonly fd: number }
  /** It is put into a shared buffer that stands for the volume from byte `start` on. */
  | { readonly kind: "place"; readonly memory: SharedArrayBuffer; readonly start: number };

/** A stored form in the slot, and what it must be. */
export interface SlotChunk extends ExpectedChunk {
  /** Where its stored form begins in the slot. */
  readonly offset: number;
  /** Pairs, as in Fetch. */
  readonly targets: readonly number[];
}

/** Stretches of the volume: pairs of first chunk and number of chunks. */
export interface Stretch {
  readonly first: number;
  readonly count: number;
}

export type Job =
  | { readonly kind: "open"; readonly slot: number; readonly chunks: readonly SlotChunk[]; readonly use: Use }
  /** Reads chunks and compares their ids with those in the slot, 32 bytes each, zeros for a hole. */
  | { readonly kind: "ids"; readonly slot: number; readonly fd: number; readonly stretch: Stretch }
  /** Reads a stretch that has to be zeros; writes zeros where it is not, or only tells. */
  | { readonly kind: "zeros"; readonly fd: number; readonly stretch: Stretch; readonly fix: boolean };

/** What every worker is started with. */
export interface WorkerSetup {
  readonly keys: ChunkKeys;
  readonly slots: readonly SharedArrayBuffer[];
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
}

/** A chunk that could not be opened: index in the job's list. */
export interface BadChunk {
  readonly index: number;
  readonly why: string;
}

export interface JobResult {
  readonly bad: readonly BadChunk[];
  /** Pairs of first chunk and count: where the volume differs (`compare`, `ids`, `zeros`). */
  readonly differing: readonly number[];
  /** Bytes that were written. */
  readonly written: number;
}

export type WorkerAnswer =
  | { readonly number: number; readonly result: JobResult }
  | {
      readonly number: number;
      readonly failure: { readonly code: string | undefined; readonly message: string };
    };

/** Asks a worker to leave; it is the last thing that it is told. */
export const stopRequest = "stop";
