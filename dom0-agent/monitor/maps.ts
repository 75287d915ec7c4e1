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

/** Every volume that any archive of this dom0 knows, with its maps. A file of them that is damaged is said, and counts as
 *  none; it is removed as well with "drop", which goes under the state's lock. */
export function trackedVolumes(
  state: StateLayout,
  report: Reporter,
  damaged: "drop" | "leave" = "drop",
): readonly TrackedVolume[] {
  return archivesIn(state, report).flatMap(({ name, record }) =>
    record.volumes.map((known) => {
      const paths = state.archive(name).volume(known.id);
      let isDamaged = false;
      const unlessDamaged = <T>(read: () => T | undefined, files: readonly string[]): T | undefined => {
        try {
          return read();
        } catch (error) {
          if (!(error instanceof DamagedStateError)) throw error;
          isDamaged = true;
          report.warn(`${known.name}: ${error.message}; the volume is compared whole at the next send`);
          if (damaged === "drop") for (const file of files) removeFile(file);
          return undefined;
        }
      };
      // First, because a pending send that is damaged takes the delta map with it.
      const pending = unlessDamaged(() => readPending(paths), [paths.pending, paths.sending, paths.delta]);
      const map = isDamaged ? undefined : unlessDamaged(() => readDeltaMap(paths.delta), [paths.delta]);
      return { archiveName: name, archive: record, known, paths, map, pending };
    }),
  );
}

/** The living snapshot that a map is complete up to, if the map can be vouched for: exactly that snapshot still
 *  exists, read-only, in that pool, with that thin id. */
export function snapshotOf(map: DeltaMap, survey: Survey): Snapshot | undefined {
  if (map.poolUuid !== survey.pool.uuid) return undefined;
  const found = survey.snapshots.find((each) => each.uuid === map.snapshotUuid);
  return found !== undefined && found.readOnly && found.thinId === map.thinId ? found : undefined;
}
