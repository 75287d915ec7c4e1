// A volume's identity in the archive: dom0's own record has it, or the archive does, from another host or before dom0's
// record was lost; else it is new, and written down before anything is sent under it.

import { randomBytes } from "node:crypto";
import { directoryFor } from "../../protocol/archive/names.ts";
import type { GroupId, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type GroupSettings, groupFor } from "../config/groups.ts";
import { type KnownVolume, writeArchiveRecord } from "../state/archive-record.ts";
import { removeVolumeState } from "../state/after-step.ts";
import { type OpenArchive, readIndex } from "./archive.ts";

/** The volume of that name, a new one for a new name. Its group is that of its first session, for good: until then it
 *  is what the settings say. In a sealed archive its directory is named by its id, which says nothing. */
export async function register(
  open: OpenArchive,
  name: string,
  groups: readonly GroupSettings[],
): Promise<KnownVolume> {
  const find = (): KnownVolume | undefined => open.record.volumes.find((each) => each.name === name);
  if (!(await isStill(open, find()))) await learnVolumes(open);
  const known = find();
  const isInArchive = open.head.volumes.some((each) => known && equalBytes(each.volume, known.id));
  if (known !== undefined && isInArchive) return known;
  const id = known?.id ?? (new Uint8Array(randomBytes(16)) as VolumeId);
  const groupName = groupFor(groups, name);
  const group = groupName === undefined ? (id as Uint8Array as GroupId) : groupOf(open, groups, groupName);
  if (known !== undefined && equalBytes(known.group, group)) return known;
  const added = { name, id, group, directory: known?.directory ?? directoryOf(open, name, id) };
  const others = open.record.volumes.filter((each) => each.name !== name);
  open.record = { ...open.record, volumes: [...others, added] };
  writeArchiveRecord(open.paths, open.record);
  return added;
}

/** Whether the archive has the volume under the name that dom0 knows: another host may have renamed or deleted it. */
async function isStill(open: OpenArchive, known: KnownVolume | undefined): Promise<boolean> {
  const index = known && (await readIndex(open, known.id));
  return index !== undefined && index.name === known?.name && index.sessions.length > 0;
}

function directoryOf(open: OpenArchive, name: string, id: VolumeId): string {
  if (open.record.sealed) return toHex(id);
  return directoryFor(
    name,
    [...open.head.volumes, ...open.record.volumes].map((each) => each.directory),
  );
}

/** Puts the archive's volumes into dom0's record, by their verified indexes. What dom0 has under the name or the directory
 *  of one of them is another host's by now, and dom0's state of it is removed. */
async function learnVolumes(open: OpenArchive): Promise<void> {
  const found: KnownVolume[] = [];
  for (const { volume, directory } of open.head.volumes) {
    const index = await readIndex(open, volume);
    // A deleted volume of which chunks are still needed has no sessions.
    if (index !== undefined && index.sessions.length > 0)
      found.push({ name: index.name, id: volume, group: index.group, directory });
  }
  const others = open.record.volumes.filter((each) => !found.some(({ id }) => equalBytes(id, each.id)));
  const isTaken = (own: KnownVolume): boolean =>
    found.some(({ name }) => name === own.name) ||
    open.head.volumes.some(
      ({ volume, directory }) => directory === own.directory && !equalBytes(volume, own.id),
    );
  open.record = { ...open.record, volumes: [...others.filter((each) => !isTaken(each)), ...found] };
  writeArchiveRecord(open.paths, open.record);
  for (const { id } of others.filter(isTaken)) removeVolumeState(open.paths, id);
}

/** What a group of the settings is in this archive: what it was called by first, or what a volume is in that fits it,
 *  where dom0's own note of the name was lost. Written down with the first volume that is put in it. */
function groupOf(open: OpenArchive, groups: readonly GroupSettings[], name: string): GroupId {
  const known = open.record.groups.find((each) => each.name === name);
  if (known !== undefined) return known.id;
  const isShared = (each: KnownVolume): boolean => !equalBytes(each.group, each.id);
  const fits = open.record.volumes.find((each) => isShared(each) && groupFor(groups, each.name) === name);
  const id = fits?.group ?? (new Uint8Array(randomBytes(16)) as GroupId);
  open.record = { ...open.record, groups: [...open.record.groups, { name, id }] };
  return id;
}
