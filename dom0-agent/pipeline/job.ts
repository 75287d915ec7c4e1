// What passes between the main thread and the workers that read, test, id, compress and frame (design section 9).
// A job is a few runs of chunks and one buffer, handed over and handed back; nothing is copied and nothing allocated
// for a chunk.

import { maxStoredLength } from "../../protocol/archive/types.ts";
import type { ChunkKeys } from "../keys/archive-seal.ts";
import { recordBytes } from "../../protocol/archive/manifest.ts";
import { frameHeaderBytes } from "../../protocol/wire/frame.ts";
import type { TableFile } from "../state/chunk-table.ts";
import type { IdSet } from "./id-set.ts";

/** A table of chunks that are there already. */
export interface Lookup {
  readonly table: TableFile;
  /** Added to its container numbers from 1 on, so that those of several tables differ; 0 is this session's own. */
  readonly numbersFrom: number;
  /** The main thread writes to it meanwhile: a page that is half written counts as one without the chunk. */
  readonly growing: boolean;
}

/** What stays the same for a whole volume. */
export interface VolumeTask extends ChunkKeys {
  /** Descriptors of the volume and of the id map; threads share them. */
  readonly volumeFd: number;
  readonly idsFd: number;
  /** Chunks that the id map covers: what lies behind them is new, and is always named in the manifest. */
  readonly knownChunks: number;
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
  readonly level: number;
  /** Request id that the chunk frames carry. */
  readonly requestId: number;
  /** Where a chunk is looked up before it is compressed, one after another. */
  readonly lookups: readonly Lookup[];
  /** Chunks that the archive has lost: one of them is stored, or looked up, though it is as the id map says. */
  readonly putBack?: IdSet | undefined;
}

export interface Job {
  readonly task: VolumeTask;
  /** Runs of chunks, as pairs of first index and count, rising. At most `chunksPerJob` chunks. */
  readonly runs: Float64Array;
  /** `frames` and `records` are written into it. */
  readonly buffer: ArrayBuffer;
}

export interface JobResult {
  readonly buffer: ArrayBuffer;
  /** Bytes of frames at the buffer's start, ready for the pipe. */
  readonly frames: number;
  /** Manifest records behind `recordsAt`: chunks that differ from the id map, or are new. One of this session that is
   *  stored under its own address has a frame, in the same order; every other refers to a chunk that a table has. */
  readonly records: number;
  /** Chunks that were looked at, and those of them that hold nothing but zeros. */
  readonly chunks: number;
  readonly zeroChunks: number;
  /** A table had a page that does not fit its checksum, so chunks may be stored anew. */
  readonly tableDamaged: boolean;
}

/** Chunks of a job: about a megabyte of data. */
export function chunksPerJob(chunkSize: number): number {
  return Math.max(1, Math.floor((1024 * 1024) / chunkSize));
}

/** Bytes of a chunk's frame before the stored form: header, address, checksum. */
export const chunkFrameHead: number = frameHeaderBytes + 8 + 32;

/** Offset of the records in a job's buffer. */
export function recordsAt(chunkSize: number): number {
  return chunksPerJob(chunkSize) * (chunkFrameHead + maxStoredLength(chunkSize));
}

/** Bytes of a job's buffer. */
export function jobBufferBytes(chunkSize: number): number {
  return recordsAt(chunkSize) + chunksPerJob(chunkSize) * recordBytes;
}
