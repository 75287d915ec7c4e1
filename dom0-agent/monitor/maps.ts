// All delta maps of a volume, one per archive, and whether they are vouched for (design section 5).

import { archivesIn } from "../state/known-archives.ts";
import type { ArchiveRecord, KnownVolume } from "../state/archive-record.ts";
import { type DeltaMap, readDeltaMap } from "../state/delta-map.ts";
import { removeFile } from "../state/atomic-file.ts";
import type { StateLayout, VolumePaths } from "../state/layout.ts";
import { type PendingSend, readPending } from "../state/pending.ts";
import { DamagedStateError } from "../state/record.ts";
import type { Snapshot, Survey } from "../storage/storage.ts";
import type { Reporter } from "../context.ts";

/** A volume in one archive, as dom0's state has it. */
export interface TrackedVolume {
  readonly archiveName: string;
  readonly archive: ArchiveRecord;
  readonly known: KnownVolume;
  readonly paths: VolumePaths;
  readonly map: DeltaMap | undefined;
  readonly pending: PendingSend | undefined;
}

/** Every volume of every archive. A map or pending send that is damaged is dropped, which is said: what it stood for
 *  is compared whole next time. */
export function trackedVolumes(state: StateLayout, report: Reporter): readonly TrackedVolume[] {
  return archivesIn(state, report).flatMap(({ name, record }) =>
    record.volumes.map((known) => {
      const paths = state.archive(name).volume(known.id);
      const warn = (message: string): void => report.warn(`${known.name}: ${message}`);
      // First, because a pending send that is dropped takes the delta map with it.
      const pending = orDropped(() => readPending(paths), warn, [paths.pending, paths.sending, paths.delta]);
      const map = orDropped(() => readDeltaMap(paths.delta), warn, [paths.delta]);
      return { archiveName: name, archive: record, known, paths, map, pending };
    }),
  );
}

function orDropped<T>(
  read: () => T | undefined,
  warn: (message: string) => void,
  paths: readonly string[],
): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    warn(`${error.message}; the volume is compared whole at the next send`);
    for (const path of paths) removeFile(path);
    return undefined;
  }
}

/** The living snapshot that a map is complete up to, if the map can be vouched for: exactly that snapshot still
 *  exists, read-only, in that pool, with that thin id. */
export function snapshotOf(map: DeltaMap, survey: Survey): Snapshot | undefined {
  if (map.poolUuid !== survey.pool.uuid) return undefined;
  const found = survey.snapshots.find((each) => each.uuid === map.snapshotUuid);
  return found !== undefined && found.readOnly && found.thinId === map.thinId ? found : undefined;
}
