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
  /** Volumes that the settings enable and no archive has. */
  readonly neverSent: readonly string[];
  readonly snapshots: readonly Snapshot[];
}

/** Looks at state and storage; changes nothing. */
export async function status(context: Context): Promise<Status> {
  const enabled = [...context.settings.volumes].filter(([, on]) => on).map(([name]) => name);
  const tracked = trackedVolumes(context.state, context.report);
  const survey = await context.storage.survey([
    ...new Set([...enabled, ...tracked.map((each) => each.known.name)]),
  ]);
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
  return { pool: survey.pool, volumes, neverSent, snapshots: survey.snapshots };
}
