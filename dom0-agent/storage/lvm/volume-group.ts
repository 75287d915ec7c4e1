// One look at the volume group, and what it says about a volume: readable, gone, or not usable and why. Everything
// else of the LVM storage works on such looks.

import {
  type Snapshot,
  type SnapshotRequest,
  StorageError,
  type StorageOptions,
  type Survey,
  type VolumeState,
} from "../storage.ts";
import { type LogicalVolume, listVolumes } from "./lvs.ts";
import { isLvName, isWorkingCopy, labelOf, nameExcess, sourceOf, worthBackingUp } from "./names.ts";
import { probedBecause } from "./probe-rule.ts";

export interface LvmSettings {
  readonly vg: string;
  readonly pool: string;
}

/** The volume group as it is at one instant. */
export interface Look {
  readonly vg: string;
  readonly pool: LogicalVolume;
  readonly byName: ReadonlyMap<string, LogicalVolume>;
  /** Those of this installation in this pool. */
  readonly snapshots: readonly Snapshot[];
}

/** A volume that can be read, and the LV behind it. */
export interface Source {
  readonly lv: LogicalVolume;
  readonly state: VolumeState;
}

/** The LVM tag of one installation's snapshots. */
export function ownerTag(options: StorageOptions): string {
  return `sparsebak-${options.owner}`;
}

/** Looks at the group, with one process. Throws StorageError `unusable` where there is no such pool. */
export async function lookAt(settings: LvmSettings, options: StorageOptions): Promise<Look> {
  const all = await listVolumes(settings.vg, options.signal);
  const pool = all.find((each) => each.isPool && each.name === settings.pool);
  if (pool === undefined) {
    const pools = all.filter((each) => each.isPool).map((each) => each.name);
    throw new StorageError(
      "unusable",
      `volume group ${settings.vg} has no thin pool ${settings.pool}`,
      `it has: ${pools.join(", ") || "none"}`,
    );
  }
  const ours = all.filter((each) => each.tags.includes(ownerTag(options)) && each.poolUuid === pool.uuid);
  return {
    vg: settings.vg,
    pool,
    byName: new Map(all.map((each) => [each.name, each])),
    snapshots: ours.flatMap(asSnapshot),
  };
}

function asSnapshot(lv: LogicalVolume): readonly Snapshot[] {
  const names = labelOf(lv.name);
  if (names === undefined || lv.thinId === undefined) return [];
  const { name, uuid, thinId, size, readOnly, createdAt } = lv;
  return [{ ...names, name, uuid, thinId, size, readOnly, createdAt }];
}

/** The snapshot as it is now, whatever its name is by now; undefined when it is gone. */
export function current(seen: Look, snapshot: Snapshot): Snapshot | undefined {
  return seen.snapshots.find((each) => each.uuid === snapshot.uuid);
}

/** What to read for a volume. The error's code is `gone` when there is no such volume at this instant. */
export function findSource(
  seen: Look,
  { volume, committed }: Pick<SnapshotRequest, "volume" | "committed">,
): Source | StorageError {
  const unusable = (why: string, hint?: string): StorageError =>
    new StorageError("unusable", `${volume}: ${why}`, hint);
  if (!isLvName(volume)) return unusable("that can't be the name of a logical volume");
  if (isWorkingCopy(volume)) {
    const clean = volume.replace(/-(?:snap|import)$/, "");
    return unusable("this is a working copy, not a volume", `name the volume: ${clean}`);
  }
  const lv = sourceOf(seen.byName, volume, committed);
  if (lv === undefined) return new StorageError("gone", `${volume}: there is no such volume in ${seen.vg}`);
  if (labelOf(volume) !== undefined && lv.tags.includes("sparsebak")) {
    return unusable("this is one of sparsebak's own snapshots");
  }
  if (lv.thinId === undefined) return unusable(`${seen.vg}/${lv.name} is not a thin volume`);
  if (lv.poolUuid !== seen.pool.uuid) return unusable(`it is not in the pool ${seen.vg}/${seen.pool.name}`);
  const external = externalOrigin(seen, lv);
  if (external !== undefined)
    return unusable(
      `what it has not mapped itself is read from ${external}, which is outside of its pool, and would be missing`,
      "copy it to a thin volume without an external origin",
    );
  const excess = nameExcess(seen.vg, volume);
  if (excess > 0) return unusable(`its name is ${excess} characters too long for snapshots to be made of it`);
  const probed = probedBecause(volume);
  if (probed !== undefined) return unusable(probed, "qubes-rpc/install dom0 installs it");
  // A working copy that nobody has open is what a crash has left.
  const crash = lv.open || isWorkingCopy(lv.name);
  const behind = committed && sourceOf(seen.byName, volume, false) !== lv;
  return { lv, state: { name: volume, uuid: lv.uuid, size: lv.size, crash, behind } };
}

/** The name of a volume outside of the pool that a thin volume reads from, itself or by way of what it is a snapshot of,
 *  where it has no blocks of its own: its mappings say nothing of those bytes. */
function externalOrigin({ byName, pool }: Look, { originUuid }: LogicalVolume): string | undefined {
  const byUuid = new Map([...byName.values()].map((each) => [each.uuid, each]));
  let wanted = originUuid;
  while (wanted !== "") {
    const origin = byUuid.get(wanted);
    if (origin?.poolUuid !== pool.uuid) return origin?.name ?? wanted;
    // Each is looked at once, whatever the group says.
    byUuid.delete(wanted);
    wanted = origin.originUuid;
  }
  return undefined;
}

/** A look as callers see it. */
export function surveyOf(seen: Look, names: readonly string[], all: boolean): Survey {
  const volumes = new Map<string, VolumeState>();
  const unusable = new Map<string, string>();
  for (const name of new Set([...names, ...(all ? cleanNames(seen) : [])])) {
    const source = findSource(seen, { volume: name, committed: false });
    if (!(source instanceof StorageError)) volumes.set(name, source.state);
    else if (source.code === "unusable") unusable.set(name, source.message);
  }
  const { uuid, chunkSize, dataPercent, metadataPercent } = seen.pool;
  return {
    pool: { uuid, chunkSize, dataPercent, metadataPercent },
    volumes,
    snapshots: seen.snapshots,
    unusable,
  };
}

/** The clean names of all volumes worth backing up, whether their VM runs or not. */
function cleanNames(seen: Look): readonly string[] {
  return [...seen.byName.values()].flatMap((each) => {
    if (each.thinId === undefined || each.poolUuid !== seen.pool.uuid) return [];
    return worthBackingUp(each.name, (name) => seen.byName.has(name)) ?? [];
  });
}

/** Throws StorageError `full` above the limits: a thin pool whose metadata fills up takes every VM down with it. */
export function refuseFullPool(
  { vg, pool }: Look,
  limits: Pick<StorageOptions, "maxDataPercent" | "maxMetadataPercent">,
): void {
  const { dataPercent, metadataPercent, trouble } = pool;
  const what = `make snapshots in ${vg}/${pool.name}`;
  if (trouble !== undefined) {
    throw new StorageError(
      trouble === "out of data space" ? "full" : "unusable",
      `${what}: the pool is ${trouble}`,
      `look at it first: lvs ${vg}/${pool.name}; dmesg`,
    );
  }
  if (dataPercent === undefined || metadataPercent === undefined) {
    throw new StorageError(
      "unusable",
      `${what}: the pool is not active, so how full it is can't be seen`,
      `lvchange -ay ${vg}/${pool.name}`,
    );
  }
  if (dataPercent <= limits.maxDataPercent && metadataPercent <= limits.maxMetadataPercent) return;
  throw new StorageError(
    "full",
    `${what}: it is too full: data ${dataPercent} % (limit ${limits.maxDataPercent} %), ` +
      `metadata ${metadataPercent} % (limit ${limits.maxMetadataPercent} %)`,
    "extend the pool (lvextend, with --poolmetadatasize for the metadata), or remove what is not needed; " +
      "max-data-percent and max-metadata-percent in sparsebak.ini are the limits",
  );
}
