// The stream of a session: what the workers found goes out as frames and down as manifest records, in the order of the
// addresses. The receiver's session begins with the first difference, so a volume without one costs it nothing.

import type { HoleEntry, ManifestEntry } from "../../protocol/archive/manifest.ts";
import { recordBytes, recordReader } from "../../protocol/archive/manifest.ts";
import type { ListBuilder } from "../../protocol/archive/list-file.ts";
import { jobsOf } from "../pipeline/jobs.ts";
import { recordsAt, type VolumeTask } from "../pipeline/job.ts";
import type { Pool } from "../pipeline/pool.ts";
import type { Choice } from "./choose-chunks.ts";
import { upTo } from "./choose-chunks.ts";
import type { Client } from "./client.ts";
import type { ManifestSpool } from "./manifest-spool.ts";

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
  /** Asks the receiver to begin; called once, before the first frame. */
  readonly begin: () => Promise<void>;
  /** Bytes of the volume that have been read so far. */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Streams everything; gives the bytes read and whether the session was begun. The spool is finished. */
export async function streamChunks(
  on: StreamOptions,
): Promise<{ readonly readBytes: number; readonly begun: boolean }> {
  const { chunkSize, size } = on.task;
  const reader = recordReader({ size, chunkSize, containers: [] });
  const holesBefore = upTo(on.holes, chunkSize);
  let begun = false;
  let readChunks = 0;

  const record = async (entries: readonly ManifestEntry[]): Promise<void> => {
    for (const entry of entries) {
      on.spool.add(holesBefore(entry.address / chunkSize));
      if (entry.kind === "hole" && on.full) continue;
      on.spool.add([entry]);
      if (entry.kind === "chunk") on.list.add(entry);
    }
    if (begun || entries.length === 0) return;
    begun = true;
    await on.begin();
  };

  await on.pool.run(
    on.task,
    jobsOf(on.choice.read, chunkSize),
    async (result) => {
      const bytes = new Uint8Array(result.buffer);
      const at = recordsAt(chunkSize);
      await record(reader.read(bytes.subarray(at, at + result.records * recordBytes)));
      if (result.frames > 0) await on.client.sendFrames(bytes.subarray(0, result.frames));
      readChunks += result.chunks;
      on.onProgress(Math.min(size, readChunks * chunkSize));
    },
    on.signal,
  );
  on.spool.add(holesBefore(Number.POSITIVE_INFINITY));
  on.spool.finish();
  return { readBytes: Math.min(size, readChunks * chunkSize), begun };
}
