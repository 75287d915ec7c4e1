// The volumes of an archive, as far as their indexes can be read.

import type { HeadVolume } from "../../protocol/archive/head.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type OpenArchive, readIndex } from "../archive/archive.ts";
import { isDamage } from "../archive/read-or-copy.ts";

export interface ArchivedVolume {
  readonly directory: string;
  readonly index: VolumeIndex;
}

/** A volume whose index is missing, damaged or can't be read: nothing of it can be found. */
export interface LostVolume {
  readonly entry: HeadVolume;
  /** As dom0 knows it; else its directory. */
  readonly name: string;
  readonly why: string;
}

/** Those that share chunks. */
export interface VolumeGroup {
  readonly group: string;
  readonly volumes: readonly ArchivedVolume[];
}

export async function readVolumes(open: OpenArchive): Promise<{
  readonly groups: readonly VolumeGroup[];
  readonly lost: readonly LostVolume[];
}> {
  const groups = new Map<string, ArchivedVolume[]>();
  const lost: LostVolume[] = [];
  for (const entry of open.head.volumes) {
    try {
      const index = await readIndex(open, entry.volume);
      if (index === undefined) continue;
      const group = toHex(index.group);
      const volumes = groups.get(group) ?? [];
      groups.set(group, volumes);
      volumes.push({ directory: entry.directory, index });
    } catch (error) {
      if (!isDamage(error)) throw error;
      const known = open.record.volumes.find((each) => equalBytes(each.id, entry.volume));
      lost.push({ entry, name: known?.name ?? entry.directory, why: error.message });
    }
  }
  // By name, for whoever reads what is said of them.
  const nameOf = ({ index }: ArchivedVolume): string => index.name;
  const sorted = [...groups].map(([group, volumes]) => ({
    group,
    volumes: volumes.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)),
  }));
  const first = ({ volumes: [each] }: VolumeGroup): string => (each === undefined ? "" : nameOf(each));
  return { groups: sorted.toSorted((a, b) => (first(a) < first(b) ? -1 : 1)), lost };
}
