// The stream of a session: what the workers found goes out as frames and down as manifest records, in the order of the
// addresses. The receiver's session begins with the first difference, so a volume without one costs it nothing.

import type { ChunkEntry, HoleEntry, ManifestEntry } from "../../protocol/archive/manifest.ts";
import { recordBytes, recordReader } from "../../protocol/archive/manifest.ts";
import type { ListBuilder } from "../../protocol/archive/list-file.ts";
import { jobsOf } from "../pipeline/jobs.ts";
import { chunkFrameHead, recordsAt, type VolumeTask } from "../pipeline/job.ts";
import type { Pool } from "../pipeline/pool.ts";
import type { Choice } from "./choose-chunks.ts";
import { upTo } from "./choose-chunks.ts";
import type { Client } from "../archive/client.ts";
import type { KnownChunks } from "./known-chunks.ts";
import type { ManifestSpool } from "../archive/manifest-spool.ts";

export interface StreamOptions {
  readonly client: Client;
  readonly pool: Pool;
  readonly task: VolumeTask;
  readonly choice: Choice;
  /** Holes that the manifest has to name, in rising order, disjoint from what is read. */
  readonly holes: Iterator<HoleEntry>;
  /** A first session: what its manifest does not mention is a hole, so holes need no records. */
  readonly full: boolean;
  readonly spool: ManifestSpool;
  readonly list: ListBuilder;
  /** What need not be stored; the task looks chunks up in it. */
  readonly known: Pick<KnownChunks, "containers" | "fresh" | "freshFrom">;
  /** Asks the receiver to begin; called once, before the first frame. */
  readonly begin: () => Promise<void>;
  /** Notes chunks whose frames are about to go out. */
  readonly onStored: (chunks: readonly ChunkEntry[]) => void;
  /** Bytes of the volume that have been read so far. */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
}

export interface Streamed {
  readonly readBytes: number;
  readonly begun: boolean;
  /** Chunks that differ from the last session and were stored already: in this one, or in one of `containers`. */
  readonly reused: number;
  /** The chunk index has a damaged page. */
  readonly tableDamaged: boolean;
}

/** Streams everything. The spool is finished. */
export async function streamChunks(on: StreamOptions): Promise<Streamed> {
  const { chunkSize, size } = on.task;
  const reader = recordReader({ size, chunkSize, containers: on.known.containers });
  const holesBefore = upTo(on.holes, chunkSize);
  let begun = false;
  let readChunks = 0;
  let reused = 0;
  let tableDamaged = false;

  /** An entry as the manifest names it; undefined for one that it need not name. */
  const named = (entry: ManifestEntry): ManifestEntry | undefined => {
    if (entry.kind === "hole") return on.full ? undefined : entry;
    const ref = on.known.containers[entry.container - 1];
    return ref === undefined ? entry : { ...entry, container: on.spool.numberOf(ref) };
  };

  await on.pool.run(
    on.task,
    jobsOf(on.choice.read, chunkSize),
    async (result) => {
      const bytes = new Uint8Array(result.buffer);
      const at = recordsAt(chunkSize);
      const entries = reader.read(bytes.subarray(at, at + result.records * recordBytes));
      if (!begun && entries.length > 0) {
        begun = true;
        await on.begin();
      }
      const sorted = sortOut(entries, bytes.subarray(0, result.frames), on.known);
      for (const entry of sorted.entries) {
        on.spool.add(holesBefore(entry.address / chunkSize));
        const record = named(entry);
        if (record !== undefined) on.spool.add([record]);
      }
      for (const entry of sorted.stored) on.list.add(entry);
      reused += sorted.reused;
      tableDamaged ||= result.tableDamaged;
      if (sorted.frames.length > 0) {
        on.onStored(sorted.stored);
        await on.client.sendFrames(sorted.frames);
      }
      readChunks += result.chunks;
      on.onProgress(Math.min(size, readChunks * chunkSize));
    },
    on.signal,
  );
  on.spool.add(holesBefore(Number.POSITIVE_INFINITY));
  on.spool.finish();
  return { readBytes: Math.min(size, readChunks * chunkSize), begun, reused, tableDamaged };
}

/**
 * Tells the chunks that are stored from those that only refer to one. Two equal chunks may have been on their way
 * through the workers at the same time: the second one's frame is taken out of `frames`, which it changes for that.
 */
function sortOut(
  entries: readonly ManifestEntry[],
  frames: Uint8Array,
  { fresh, freshFrom }: StreamOptions["known"],
): {
  readonly entries: readonly ManifestEntry[];
  readonly stored: readonly ChunkEntry[];
  readonly frames: Uint8Array;
  readonly reused: number;
} {
  const all: ManifestEntry[] = [];
  const stored: ChunkEntry[] = [];
  let at = 0;
  let end = frames.length;
  let reused = 0;
  for (const entry of entries) {
    if (entry.kind === "hole" || !hasFrame(entry)) {
      if (entry.kind === "chunk") reused++;
      all.push(entry);
      continue;
    }
    const frameBytes = chunkFrameHead + entry.storedLength;
    if (fresh.add(entry.id, entry)) {
      stored.push(entry);
      all.push(entry);
      at += frameBytes;
      continue;
    }
    frames.copyWithin(at, at + frameBytes, end);
    end -= frameBytes;
    reused++;
    const place = fresh.find(entry.id) ?? entry;
    all.push({ ...entry, ...place, container: place.container === 0 ? 0 : place.container + freshFrom });
  }
  fresh.flush();
  return { entries: all, stored, frames: frames.subarray(0, end), reused };
}

/** A chunk of this session under its own address: what the workers compressed and framed. */
function hasFrame(entry: ChunkEntry): boolean {
  return entry.container === 0 && entry.storedAddress === entry.address;
}
