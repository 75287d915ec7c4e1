// dom0's state with one archive whose volumes have delta maps in which nothing has changed.

import { randomBytes } from "node:crypto";
import type { ArchiveUuid, GroupId, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { bitmap } from "../../../dom0-agent/delta/bitmap.ts";
import { writeArchiveRecord } from "../../../dom0-agent/state/archive-record.ts";
import { makeDirectory } from "../../../dom0-agent/state/writing.ts";
import { writeDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { type StateLayout, stateLayout, type VolumePaths } from "../../../dom0-agent/state/layout.ts";

export const chunkSize = 65_536;
/** Bytes of each volume. */
export const size: number = 16 * chunkSize;

const random = <T>(length: number): T => new Uint8Array(randomBytes(length)) as T;

/** A snapshot that the map of a volume is complete up to. */
export interface Named {
  readonly volume: string;
  readonly uuid: string;
  readonly thinId: number;
}

/** Makes the state in `directory`; gives the volumes' paths in the order of `snapshots`, which are in the pool `pool`. */
export function trackedState(
  directory: string,
  snapshots: readonly Named[],
): { readonly state: StateLayout; readonly volumes: readonly VolumePaths[] } {
  const state = stateLayout(directory);
  const paths = state.archive("default");
  makeDirectory(paths.directory);
  const archive = random<ArchiveUuid>(16);
  const known = snapshots.map(({ volume }) => ({
    name: volume,
    directory: volume,
    id: random<VolumeId>(16),
    group: random<GroupId>(16),
  }));
  writeArchiveRecord(paths, {
    uuid: archive,
    sealed: false,
    chunkSize,
    level: 3,
    idSeed: random(32),
    head: { generation: 1, digest: random(32), chain: random(32) } as never,
    volumes: known,
    groups: [],
  });
  const volumes = snapshots.map(({ uuid, thinId }, i) => {
    const { id } = known[i]!;
    const volume = paths.volume(id);
    makeDirectory(volume.directory);
    writeDeltaMap(volume.delta, {
      archive,
      volume: id,
      base: random<SessionUid>(16),
      baseMapRoot: random(32),
      chunkSize,
      size,
      poolUuid: "pool",
      snapshotUuid: uuid,
      thinId,
      bits: bitmap(size / chunkSize),
    });
    return volume;
  });
  return { state, volumes };
}
