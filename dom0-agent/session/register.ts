// A volume's identity in an archive, written down in dom0 before anything is sent under it.

import { randomBytes } from "node:crypto";
import { directoryFor } from "../../protocol/archive/names.ts";
import type { GroupId, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type GroupSettings, groupFor } from "../config/groups.ts";
import { type KnownVolume, writeArchiveRecord } from "../state/archive-record.ts";
import type { OpenArchive } from "./archive.ts";

/** The volume of that name, a new one for a new name. Its group is that of its first session, for good: until then it
 *  is what the settings say. */
export function register(open: OpenArchive, name: string, groups: readonly GroupSettings[]): KnownVolume {
  const known = open.record.volumes.find((each) => each.name === name);
  const isInArchive = open.head.volumes.some((each) => known && equalBytes(each.volume, known.id));
  if (known !== undefined && isInArchive) return known;
  const id = known?.id ?? (new Uint8Array(randomBytes(16)) as VolumeId);
  const groupName = groupFor(groups, name);
  const group = groupName === undefined ? (id as Uint8Array as GroupId) : groupOf(open, groups, groupName);
  if (known !== undefined && equalBytes(known.group, group)) return known;
  const taken = [...open.head.volumes, ...open.record.volumes].map((each) => each.directory);
  const added = { name, id, group, directory: known?.directory ?? directoryFor(name, taken) };
  const others = open.record.volumes.filter((each) => each.name !== name);
  open.record = { ...open.record, volumes: [...others, added] };
  writeArchiveRecord(open.paths, open.record);
  return added;
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
