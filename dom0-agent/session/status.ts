// status: what dom0 knows without asking anybody: what is tracked, how old each volume's last backup is, what a send
// would read now, how full the pool is.

import { countSet } from "../delta/bitmap.ts";
import type { PoolState, Snapshot } from "../storage/storage.ts";
import { type LastSession, readLastSession } from "../state/last-session.ts";
import type { Context } from "../context.ts";
import { snapshotOf, trackedVolumes } from "../monitor/maps.ts";

export interface VolumeStatus {
  readonly volume: string;
  readonly archive: string;
  readonly last: LastSession | undefined;
  /** Bytes that a send would read, at most; undefined: the whole volume, because nothing is known of it. */
  readonly toRead: number | undefined;
  /** A send of it was cut short. */
  readonly pending: boolean;
  readonly present: boolean;
}

export interface Status {
  readonly pool: PoolState;
  readonly volumes: readonly VolumeStatus[];
  /** Volumes that the settings enable and no archive, or not the one that is asked about, has. */
  readonly neverSent: readonly string[];
  /** Snapshots of volumes that are gone, or that no archive has. */
  readonly orphans: readonly Snapshot[];
}

/** Looks at state and storage, for one archive or, without a name, for all; changes nothing. */
export async function status(context: Context, archive: string | undefined): Promise<Status> {
  const enabled = [...context.settings.volumes].filter(([, on]) => on).map(([name]) => name);
  const all = trackedVolumes(context.state, context.report, "leave");
  const survey = await context.storage.survey([
    ...new Set([...enabled, ...all.map((each) => each.known.name)]),
  ]);
  const tracked = all.filter(({ archiveName }) => archive === undefined || archiveName === archive);
  const volumes = tracked.map((each): VolumeStatus => {
    const { map, pending } = each;
    const vouched = map !== undefined && pending === undefined && snapshotOf(map, survey) !== undefined;
    return {
      volume: each.known.name,
      archive: each.archiveName,
      last: readLastSession(each.paths, (message) => context.report.warn(message)),
      toRead: vouched ? countSet(map.bits) * map.chunkSize : undefined,
      pending: pending !== undefined,
      present: survey.volumes.has(each.known.name),
    };
  });
  const neverSent = enabled.filter((name) => !tracked.some((each) => each.known.name === name));
  const present = new Set(all.map((each) => each.known.name).filter((name) => survey.volumes.has(name)));
  const orphans = survey.snapshots.filter((each) => !present.has(each.volume));
  return { pool: survey.pool, volumes, neverSent, orphans };
}
