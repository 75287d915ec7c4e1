// What a committed step changes in dom0's own records: at once where its acknowledgement came, else when the archive is
// opened next (design section 5). Doing it twice changes nothing.

import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { equalBytes } from "../../protocol/bytes.ts";
import type { ArchiveRecord, StepNote } from "./archive-record.ts";
import { syncDirectory } from "./atomic-file.ts";
import { noteDeleted } from "./deleted-volumes.ts";
import type { ArchivePaths } from "./layout.ts";

/** The record as it is after `step`; the state of a volume that was deleted is removed. */
export function afterStep(paths: ArchivePaths, record: ArchiveRecord, step: StepNote): ArchiveRecord {
  if (step.what === "rename") {
    const { volume, name } = step;
    const volumes = record.volumes
      // One of the new name can only be what a first send has left that came to nothing.
      .filter((each) => each.name !== name || equalBytes(each.id, volume))
      .map((each) => (equalBytes(each.id, volume) ? { ...each, name } : each));
    return { ...record, volumes };
  }
  if (step.what === "delete") {
    const deleted = record.volumes.find((each) => equalBytes(each.id, step.volume));
    if (deleted !== undefined) noteDeleted(paths, deleted);
    removeVolumeState(paths, step.volume);
    return { ...record, volumes: record.volumes.filter((each) => !equalBytes(each.id, step.volume)) };
  }
  return record;
}

/** Removes what dom0 keeps of a volume: delta map, id map and the rest. Its snapshots then have nothing that names them. */
export function removeVolumeState(paths: ArchivePaths, volume: Parameters<ArchivePaths["volume"]>[0]): void {
  const { directory } = paths.volume(volume);
  rmSync(directory, { recursive: true, force: true });
  try {
    syncDirectory(dirname(directory));
  } catch (error) {
    // No volume of this archive has had any state.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
