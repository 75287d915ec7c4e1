// Volumes that were deleted from the archive, by name: what the destination keeps of them in the trash is opened with
// their read keys, and the newest state no longer says which group they were of.

import { type GroupId, uidBytes, type VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { KnownVolume } from "./archive-record.ts";
import type { ArchivePaths } from "./layout.ts";
import { field, readRecord, writeRecord } from "./record.ts";

type DeletedVolume = Pick<KnownVolume, "name" | "id" | "group">;

/** Notes one; a second time changes nothing. Throws DamagedStateError. */
export function noteDeleted(paths: ArchivePaths, { name, id, group }: DeletedVolume): void {
  const before = readDeleted(paths);
  if (before.some((each) => equalBytes(each.id, id))) return;
  const volumes = [...before, { name, id, group }];
  writeRecord(paths.deleted, {
    volumes: volumes.map((each) => ({ name: each.name, id: toHex(each.id), group: toHex(each.group) })),
  });
}

/** The one of that name that was deleted last. Throws DamagedStateError. */
export function deletedVolume(paths: ArchivePaths, name: string): DeletedVolume | undefined {
  return readDeleted(paths).findLast((each) => each.name === name);
}

function readDeleted(paths: ArchivePaths): readonly DeletedVolume[] {
  const found = readRecord(paths.deleted, ({ volumes }) => {
    if (!Array.isArray(volumes)) throw new Error("volumes: wanted a list");
    return volumes.map((each: Record<string, unknown>) => ({
      name: field.text(each, "name"),
      id: field.hex<VolumeId>(each, "id", uidBytes),
      group: field.hex<GroupId>(each, "group", uidBytes),
    }));
  });
  return found ?? [];
}
