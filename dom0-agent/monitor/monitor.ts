// monitor: what changed since the last time goes into every archive's delta map, and the snapshot moves on (design
// section 5). The order is what makes it safe against a kill at any instant:
//
//   1. tidy: a run that was cut short has left .tick and .tock; whichever no map names goes
//   2. .tock is made
//   3. with the metadata held: the delta from the snapshot that each map is complete up to, to .tock;
//      every map is written, complete up to .tock
//   4. .tick goes, or is kept under another name while a send needs it; .tock becomes .tick
//
// Folding a change in twice is harmless, losing one never is: until 4, both snapshots are there.

import { InternalError } from "../../protocol/errors.ts";
import { resized, setExtent } from "../delta/bitmap.ts";
import { removeFile } from "../state/atomic-file.ts";
import { type DeltaMap, writeDeltaMap } from "../state/delta-map.ts";
import { takeLock } from "../state/lock.ts";
import {
  type DeltaSource,
  type Snapshot,
  type SnapshotOutcome,
  StorageError,
  type Survey,
  type VolumeState,
} from "../storage/storage.ts";
import type { Context, Reporter } from "../context.ts";
import { dropGone } from "./drop-gone.ts";
import { livingLooks } from "./look-snapshot.ts";
import { snapshotOf, type TrackedVolume, trackedVolumes } from "./maps.ts";
import { stateLockSeconds } from "./state-lock.ts";
import { tidySnapshots } from "./tidy-snapshots.ts";

/** What monitor found of a volume. */
export interface MonitoredVolume {
  readonly ok: true;
  readonly volume: string;
  /** The snapshot that is `.tick` now. */
  readonly tick: Snapshot;
  /** What it was made from, as it was then. */
  readonly source: VolumeState;
  readonly takenAt: number;
  /** Bytes that the storage says may have changed since the time before; undefined for a volume that no map covers. */
  readonly changedBytes: number | undefined;
}

export type MonitorResult =
  | MonitoredVolume
  | { readonly ok: false; readonly volume: string; readonly error: StorageError };

export interface MonitorOptions {
  readonly volumes: readonly string[];
  /** Take what each VM's last start left, not what it writes now. */
  readonly committed: boolean;
  /** Volumes without a map get a snapshot too: a send follows. */
  readonly forSend: boolean;
}

/** Monitors `volumes`. Takes the state's lock. Volumes that no archive has a map of are left out unless `forSend`. */
export async function monitor(context: Context, options: MonitorOptions): Promise<readonly MonitorResult[]> {
  using _lock = await takeLock(context.state.lock, "monitor", stateLockSeconds);
  return monitorLocked(context, options);
}

/** The same for a caller that holds the state's lock. */
export async function monitorLocked(
  context: Context,
  options: MonitorOptions,
): Promise<readonly MonitorResult[]> {
  const { storage, state, report } = context;
  await storage.recover();
  const known = trackedVolumes(state, report);
  const found = await storage.survey([...options.volumes, ...known.map((each) => each.known.name)]);
  const vouched = dropUnvouched(known, found, report);
  const tracked = await dropGone(state, found, vouched, context.settings.keepGoneDays, report);
  const tidied = await tidySnapshots(storage, found, tracked, await livingLooks(state, found));
  const survey = tidied ? await storage.survey(options.volumes) : found;
  const mapsOf = (volume: string): readonly VouchedMap[] => vouchedMaps(tracked, volume, survey);
  const wanted = options.volumes.filter((volume) => options.forSend || mapsOf(volume).length > 0);
  if (wanted.length === 0) return [];
  const outcomes = await storage.createSnapshots(
    wanted.map((volume) => ({ volume, label: "tock", committed: options.committed })),
  );
  const foldAll = async (deltas: DeltaSource): Promise<readonly MonitorResult[]> => {
    const done: MonitorResult[] = [];
    for (const outcome of outcomes) {
      const { volume } = outcome.ok ? outcome.snapshot : outcome;
      done.push(
        outcome.ok ? await orFailed(volume, async () => fold(outcome, mapsOf(volume), deltas)) : outcome,
      );
    }
    return done;
  };
  const results = outcomes.some((each) => each.ok && mapsOf(each.snapshot.volume).length > 0)
    ? await storage.withMetadata(foldAll, context.signal)
    : await foldAll(noDeltas);
  const keep = new Set(
    results.flatMap((each) => (each.ok && each.changedBytes === undefined ? [each.tick.uuid] : [])),
  );
  const folded = await storage.survey(options.volumes);
  for (const uuid of await livingLooks(state, folded)) keep.add(uuid);
  await tidySnapshots(storage, folded, trackedVolumes(state, report), keep);
  const after = await storage.survey(options.volumes);
  const withTick = async (each: MonitorResult): Promise<MonitorResult> =>
    each.ok ? orFailed(each.volume, async () => ({ ...each, tick: currentTick(after, each.tick) })) : each;
  return await Promise.all(results.map(withTick));
}

/** What `work` gives, or why it could not be done for this volume: that is no reason to leave the others out. Its maps say
 *  what they said before. Throws what concerns all of them. */
async function orFailed(volume: string, work: () => Promise<MonitorResult>): Promise<MonitorResult> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StorageError) || error.code === "held") throw error;
    return { ok: false, volume, error };
  }
}

/** A map with the living snapshot that it is complete up to. */
interface VouchedMap {
  readonly tracked: TrackedVolume;
  readonly map: DeltaMap;
  readonly from: Snapshot;
}

function vouchedMaps(
  tracked: readonly TrackedVolume[],
  volume: string,
  survey: Survey,
): readonly VouchedMap[] {
  return tracked.flatMap((each) => {
    const from = each.known.name === volume && each.map ? snapshotOf(each.map, survey) : undefined;
    return each.map && from ? [{ tracked: each, map: each.map, from }] : [];
  });
}

/** Maps whose snapshot is gone say nothing any more; without them the next send compares the whole volume. */
function dropUnvouched(
  tracked: readonly TrackedVolume[],
  survey: Survey,
  report: Reporter,
): readonly TrackedVolume[] {
  return tracked.map((each) => {
    if (each.map === undefined || snapshotOf(each.map, survey)) return each;
    const why =
      each.map.poolUuid === survey.pool.uuid
        ? "is gone"
        : "is in another pool, where snapshots with the LVM tag sparsebak may be left";
    report.warn(
      `${each.known.name}: the snapshot that the delta map for ${each.archiveName} builds on ${why}; the next send compares the whole volume`,
    );
    removeFile(each.paths.delta);
    return { ...each, map: undefined };
  });
}

/** Step 3 for one volume. */
async function fold(
  outcome: SnapshotOutcome & { readonly ok: true },
  maps: readonly VouchedMap[],
  deltas: DeltaSource,
): Promise<MonitorResult> {
  const { snapshot: tock, source } = outcome;
  let changedBytes: number | undefined;
  // Maps of several archives are usually complete up to the same snapshot: one delta serves them all.
  for (const from of new Map(maps.map((each) => [each.from.uuid, each.from])).values()) {
    const folding = maps
      .filter((each) => each.from.uuid === from.uuid)
      .map((each) => ({
        ...each,
        bits: resized(each.map.bits, each.map.size, tock.size, each.map.chunkSize),
      }));
    let bytes = 0;
    for await (const extent of deltas.between(from, tock)) {
      bytes += extent.length;
      for (const { map, bits } of folding) setExtent(bits, extent, map.chunkSize);
    }
    changedBytes = Math.max(changedBytes ?? 0, bytes);
    // Where nothing changed, nothing rotates: the map stays with its snapshot, unless that has the name of a volume which
    // is called otherwise by now.
    const isTick = from.volume === tock.volume && from.label === "tick";
    if (bytes === 0 && from.size === tock.size && isTick) continue;
    for (const { tracked, map, bits } of folding) {
      const moved = { size: tock.size, snapshotUuid: tock.uuid, thinId: tock.thinId };
      writeDeltaMap(tracked.paths.delta, { ...map, ...moved, bits });
    }
  }
  return { ok: true, volume: tock.volume, tick: tock, source, takenAt: tock.createdAt, changedBytes };
}

/** For runs in which no map has to be brought up. */
const noDeltas: DeltaSource = {
  between: () => {
    throw new InternalError("a delta without metadata");
  },
  mapped: () => {
    throw new InternalError("a delta without metadata");
  },
};

/** What stayed of a volume's new snapshot: itself, or, where nothing had changed, the one before it. */
function currentTick(survey: Survey, tock: Snapshot): Snapshot {
  const same = survey.snapshots.find((each) => each.uuid === tock.uuid);
  const tick = survey.snapshots.find((each) => each.volume === tock.volume && each.label === "tick");
  const found = same ?? tick;
  if (found === undefined)
    throw new StorageError("gone", `${tock.volume}: its snapshot ${tock.name} is gone`);
  return found;
}
