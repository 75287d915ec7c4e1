// What of a volume a send looks at: the chunks that its delta map names, or all, without those that are known to be
// holes (design section 5).

import { groupChunks } from "../../protocol/archive/map-root.ts";
import { type Bitmap, countSet, runsOf } from "../delta/bitmap.ts";
import type { VolumeTask } from "../pipeline/job.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import type { IdMap } from "../state/id-map.ts";
import { takeLock } from "../state/lock.ts";
import type { OpenVolume } from "../storage/storage.ts";
import type { Source } from "./begin-volume.ts";
import { allChunks, askMappedFrom, type Choice, choose } from "./choose-chunks.ts";
import type { Context } from "../context.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { drawUnchanged, sampleDiffers } from "./sample.ts";

/** Chunks of the random sample. */
const sampleChunks = 16;

/** What has to be looked at: what the delta map says, once a sample of the rest has held; everything otherwise. The id
 *  map is checked wherever it will be believed. */
export function candidatesFor(
  context: Context,
  known: KnownVolume,
  source: Source,
  task: Omit<VolumeTask, "lookups">,
  map: IdMap,
): { readonly candidates: Bitmap; readonly sampleFailed: boolean } {
  const everything = (): Bitmap => {
    const all = allChunks(source.size, task.chunkSize);
    map.verify(groupsOf(all));
    return all;
  };
  if (source.map === undefined) return { candidates: everything(), sampleFailed: false };
  const sample = drawUnchanged(source.map.bits, sampleChunks, Math.random);
  map.verify(
    new Set([...groupsOf(source.map.bits), ...sample.map((index) => Math.floor(index / groupChunks))]),
  );
  if (!sampleDiffers(task, sample)) return { candidates: source.map.bits, sampleFailed: false };
  context.report.warn(
    `${known.name}: data changed that the storage calls unchanged; the whole volume is compared`,
  );
  return { candidates: everything(), sampleFailed: true };
}

/** The groups of the id map that the chunks lie in. */
function* groupsOf(chunks: Bitmap): Generator<number> {
  let last = -1;
  for (const { start, count } of runsOf(chunks)) {
    const end = Math.floor((start + count - 1) / groupChunks);
    for (let group = Math.max(last + 1, Math.floor(start / groupChunks)); group <= end; group++)
      yield (last = group);
  }
}

export async function chooseChunks(
  context: Context,
  source: Source,
  candidates: Bitmap,
  chunkSize: number,
): Promise<Choice> {
  const { storage } = context;
  const { snapshot } = source;
  const worthAsking = source.map === undefined ? askMappedFrom.whole : askMappedFrom.delta;
  if (countSet(candidates) < worthAsking) return choose(candidates, undefined, chunkSize);
  if (snapshot === undefined) return choose(candidates, storage.mappedOf(source.state), chunkSize);
  // The metadata can be held by one process at a time; a monitor takes the same lock.
  using _lock = await takeLock(context.state.lock, "send", stateLockSeconds);
  return storage.withMetadata(
    async (deltas) => choose(candidates, deltas.mapped(snapshot), chunkSize),
    context.signal,
  );
}

export async function openSource(context: Context, source: Source): Promise<OpenVolume> {
  return source.snapshot === undefined
    ? context.storage.openVolume(source.state)
    : context.storage.openSnapshot(source.snapshot);
}
