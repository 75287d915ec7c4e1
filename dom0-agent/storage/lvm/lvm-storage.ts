// LVM thin volumes: snapshots, and what changed between them (design section 5, facts of LVM thin).

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type {
  OpenVolume,
  Snapshot,
  SnapshotOutcome,
  SnapshotRequest,
  Storage,
  StorageOptions,
  Survey,
  VolumeState,
} from "../storage.ts";
import { StorageError } from "../storage.ts";
import { InternalError } from "../../../protocol/errors.ts";
import { thinDeltas } from "./deltas.ts";
import { type LogicalVolume, listVolumes } from "./lvs.ts";
import { linesAbout, runLvmCommands } from "./lvm-commands.ts";
import {
  isQubesInternal,
  isWorthBackingUp,
  labelOf,
  mapperName,
  maxLvName,
  snapshotName,
  sourceOf,
} from "./names.ts";
import { probedBecause } from "./probe-rule.ts";
import { type Pool, releaseLeftover, reserveMetadata } from "./reservation.ts";

export interface LvmSettings {
  readonly vg: string;
  readonly pool: string;
}

/** Milliseconds between looks for a volume whose VM is just stopping, and how often. */
const retryMilliseconds = 300;
const retries = 5;

/** Everything of one look, in the forms that the parts below need. */
interface Look {
  readonly pool: LogicalVolume;
  readonly byName: ReadonlyMap<string, LogicalVolume>;
  readonly snapshots: readonly Snapshot[];
}

/** The thin volumes of a pool. Nothing is looked at yet. */
export function lvmStorage(settings: LvmSettings, options: StorageOptions): Storage {
  const { vg } = settings;
  const ownerTag = `sparsebak-${options.owner}`;
  const poolDevices = (pool: LogicalVolume): Pool => ({
    uuid: pool.uuid,
    device: mapperName(vg, settings.pool) + "-tpool",
  });

  const look = async (): Promise<Look> => {
    const all = await listVolumes(vg, options.signal);
    const pool = all.find((each) => each.isPool && each.name === settings.pool);
    if (pool === undefined) {
      const pools = all.filter((each) => each.isPool).map((each) => each.name);
      throw new StorageError(
        "unusable",
        `volume group ${vg} has no thin pool ${settings.pool}`,
        `it has: ${pools.join(", ") || "none"}`,
      );
    }
    const byName = new Map(all.map((each) => [each.name, each]));
    const ours = all.filter((each) => each.tags.includes(ownerTag) && each.poolUuid === pool.uuid);
    return { pool, byName, snapshots: ours.flatMap(asSnapshot) };
  };

  const stateOf = (seen: Look, name: string, committed: boolean): VolumeState | StorageError => {
    const source = sourceOf(seen.byName, name, committed);
    if (source === undefined) return new StorageError("gone", `${name}: there is no such volume in ${vg}`);
    const { lv, running } = source;
    if (isQubesInternal(name) || labelOf(name) !== undefined) {
      return new StorageError("unusable", `${name}: this is a working copy or a snapshot, not a volume`);
    }
    if (lv.thinId === undefined || lv.poolUuid !== seen.pool.uuid) {
      return new StorageError(
        "unusable",
        `${name}: it is not a thin volume of the pool ${vg}/${settings.pool}`,
      );
    }
    const probed = probedBecause(name);
    if (probed !== undefined) {
      return new StorageError("unusable", `${name}: ${probed}`, "qubes-rpc/install dom0 installs it");
    }
    return { name, uuid: lv.uuid, size: lv.size, running };
  };

  const survey: Storage["survey"] = async (names, { all = false } = {}): Promise<Survey> => {
    const seen = await look();
    const volumes = new Map<string, VolumeState>();
    const unusable = new Map<string, string>();
    for (const name of new Set([...names, ...(all ? cleanNames(seen) : [])])) {
      const state = stateOf(seen, name, false);
      if (!(state instanceof StorageError)) volumes.set(name, state);
      else if (state.code === "unusable") unusable.set(name, state.message);
    }
    const { uuid, chunkSize, dataPercent, metadataPercent } = seen.pool;
    return {
      pool: { uuid, chunkSize, dataPercent, metadataPercent },
      volumes,
      snapshots: seen.snapshots,
      unusable,
    };
  };

  const createSnapshots: Storage["createSnapshots"] = async (requests) => {
    if (requests.length === 0) return [];
    const seen = await lookUntilPresent(look, requests);
    refuseFullPool(seen.pool, settings, options);
    const planned = requests.map((request) =>
      plan(seen, request, stateOf(seen, request.volume, request.committed)),
    );
    const commands = planned.flatMap((each) => {
      if (!each.ok) return [];
      const tags = ["--addtag", "sparsebak", "--addtag", ownerTag];
      const name = snapshotName(each.state.name, each.label);
      return [["lvcreate", "-kn", "-ay", "-pr", "-s", `${vg}/${each.source.name}`, "-n", name, ...tags]];
    });
    const complaints = await runLvmCommands(commands);
    const after = await look();
    return planned.map((each): SnapshotOutcome => {
      if (!each.ok) return each;
      const name = snapshotName(each.state.name, each.label);
      const snapshot = after.snapshots.find((found) => found.name === name);
      if (snapshot !== undefined)
        return { ok: true, snapshot, source: { ...each.state, size: snapshot.size } };
      const error = new StorageError(
        "tool",
        `${each.state.name}: make the snapshot ${name}: ${linesAbout(complaints, each.source.name)}`,
      );
      return { ok: false, volume: each.state.name, error };
    });
  };

  const plan = (seen: Look, request: SnapshotRequest, state: VolumeState | StorageError): Planned => {
    const { volume, label } = request;
    const refuse = (error: StorageError): Planned => ({ ok: false, volume, error });
    if (state instanceof StorageError) return refuse(state);
    const name = snapshotName(volume, label);
    const source = sourceOf(seen.byName, volume, request.committed)?.lv;
    if (source === undefined) throw new InternalError(`${volume} vanished from one look`);
    if (name.length > maxLvName) {
      return refuse(
        new StorageError(
          "unusable",
          `${volume}: its snapshot's name would have ${name.length} characters, at most ${maxLvName}`,
        ),
      );
    }
    if (seen.byName.has(name)) {
      return refuse(
        new StorageError(
          "unusable",
          `${volume}: a volume ${name} exists that is not ours to replace`,
          `lvs -o lv_tags ${vg}/${name} shows whose it is`,
        ),
      );
    }
    return { ok: true, state, source, label };
  };

  /** The snapshot as it is now, if it is still the one that is meant: by uuid, with our tag. */
  const current = (seen: Look, snapshot: Snapshot): Snapshot | undefined =>
    seen.snapshots.find((each) => each.uuid === snapshot.uuid);

  return {
    capabilities: { snapshots: true, delta: true },
    survey,
    createSnapshots,
    relabelSnapshots: async (changes) => {
      if (changes.length === 0) return;
      const seen = await look();
      const commands = changes.map(({ snapshot, label }) => {
        const now = current(seen, snapshot);
        if (now === undefined)
          throw new StorageError("gone", `rename ${snapshot.name}: the snapshot is gone`);
        return ["lvrename", `${vg}/${now.name}`, `${vg}/${snapshotName(now.volume, label)}`];
      });
      const complaints = await runLvmCommands(commands);
      const after = await look();
      for (const { snapshot, label } of changes) {
        if (current(after, snapshot)?.label === label) continue;
        throw new StorageError(
          "tool",
          `rename ${snapshot.name} to .${label}: ${linesAbout(complaints, snapshot.name)}`,
        );
      }
    },
    dropSnapshots: async (snapshots) => {
      if (snapshots.length === 0) return;
      const seen = await look();
      const living = snapshots.flatMap((each) => current(seen, each) ?? []);
      const complaints = await runLvmCommands(living.map((each) => ["lvremove", "-f", `${vg}/${each.name}`]));
      const after = await look();
      const left = living.find((each) => current(after, each) !== undefined);
      if (left !== undefined)
        throw new StorageError("tool", `remove ${left.name}: ${linesAbout(complaints, left.name)}`);
    },
    withMetadata: async (use, signal) => {
      const { pool } = await look();
      await using _held = await reserveMetadata(poolDevices(pool), options.stateDirectory);
      const check = async (wanted: readonly Snapshot[]): Promise<void> => {
        const seen = await look();
        for (const each of wanted) {
          const now = current(seen, each);
          if (now?.thinId === each.thinId && now.readOnly && now.size === each.size) continue;
          throw new StorageError("gone", `${each.name}: the snapshot is not what it was any more`);
        }
      };
      const metadataDevice = `/dev/mapper/${mapperName(vg, settings.pool)}_tmeta`;
      return use(thinDeltas({ metadataDevice, poolChunkSize: pool.chunkSize, check }, signal));
    },
    openSnapshot: async (snapshot) => {
      const now = current(await look(), snapshot);
      if (now === undefined) throw new StorageError("gone", `open ${snapshot.name}: the snapshot is gone`);
      return openDevice(`/dev/mapper/${mapperName(vg, now.name)}`, now.size);
    },
    openVolume: async () => {
      throw new InternalError("thin volumes are read from snapshots");
    },
    mappedOf: () => {
      throw new InternalError("thin volumes are read from snapshots");
    },
    recover: async () => releaseLeftover(poolDevices((await look()).pool), options.stateDirectory),
  };
}

type Planned =
  | { readonly ok: true; readonly state: VolumeState; readonly source: LogicalVolume; readonly label: string }
  | { readonly ok: false; readonly volume: string; readonly error: StorageError };

function asSnapshot(lv: LogicalVolume): Snapshot[] {
  const names = labelOf(lv.name);
  if (names === undefined || lv.thinId === undefined) return [];
  const { name, uuid, thinId, size, writable, createdAt } = lv;
  return [{ ...names, name, uuid, thinId, size, readOnly: !writable, createdAt }];
}

/** The clean names of all volumes worth backing up, whether their VM runs or not. */
function cleanNames(seen: Look): readonly string[] {
  return [...seen.byName.values()]
    .filter(
      (each) => each.thinId !== undefined && each.poolUuid === seen.pool.uuid && isWorthBackingUp(each.name),
    )
    .map((each) => each.name);
}

/** In the instant of a VM's stop a volume has neither of its names: look again before it is called gone. */
async function lookUntilPresent(
  look: () => Promise<Look>,
  requests: readonly SnapshotRequest[],
): Promise<Look> {
  let seen = await look();
  for (let i = 0; i < retries; i++) {
    const missing = requests.some((each) => sourceOf(seen.byName, each.volume, each.committed) === undefined);
    if (!missing) break;
    await new Promise((resolve) => {
      setTimeout(resolve, retryMilliseconds);
    });
    seen = await look();
  }
  return seen;
}

/** A thin pool whose metadata fills up takes every VM down with it. */
function refuseFullPool(pool: LogicalVolume, { vg, pool: name }: LvmSettings, limits: StorageOptions): void {
  const check = (what: string, percent: number | undefined, limit: number, key: string): void => {
    if (percent !== undefined && percent <= limit) return;
    const found = percent === undefined ? "unknown" : `${percent} %`;
    throw new StorageError(
      "full",
      `make snapshots in ${vg}/${name}: its ${what} is ${found} full, at most ${limit} % allowed`,
      `extend the pool's ${what}, or raise ${key} in sparsebak.ini`,
    );
  };
  check("data", pool.dataPercent, limits.maxDataPercent, "max-data-percent");
  check("metadata", pool.metadataPercent, limits.maxMetadataPercent, "max-metadata-percent");
}

/** Opens a snapshot's device and checks that it is as long as LVM says. */
function openDevice(path: string, size: number): OpenVolume {
  const fd = openSync(path, constants.O_RDONLY);
  const probe = new Uint8Array(512);
  const last = readSync(fd, probe, 0, 512, size - 512);
  const beyond = readSync(fd, probe, 0, 512, size);
  if (!fstatSync(fd).isBlockDevice() || last !== 512 || beyond !== 0) {
    closeSync(fd);
    throw new StorageError("tool", `open ${path}: it is not a device of ${size} bytes`);
  }
  let open = true;
  return {
    fd,
    size,
    checkUnchanged: async () => undefined,
    [Symbol.asyncDispose]: async () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
