// LVM thin volumes: snapshots, and what changed between them (design section 5, facts of LVM thin).

import { InternalError } from "../../../protocol/errors.ts";
import {
  type DeltaSource,
  type OpenVolume,
  type Snapshot,
  type Storage,
  StorageError,
  type StorageOptions,
} from "../storage.ts";
import { deltaSource, type MetadataReader, thinDelta } from "./deltas.ts";
import { runAlone } from "./lvm-commands.ts";
import { poolDevice } from "./pool-device.ts";
import { type Reservation, reserveMetadata, settleLeftover } from "./reservation.ts";
import { lvmRestore, restoreTags } from "./restore-volumes.ts";
import { openSnapshotDevice } from "./snapshot-device.ts";
import { settleSwap } from "./swap.ts";
import { createSnapshots, dropSnapshots, relabelSnapshots } from "./snapshots.ts";
import { current, type Look, lookAt, type LvmSettings, surveyOf } from "./volume-group.ts";

/** Times that a snapshot is looked for whose name moves just now. */
const opens = 3;

/** The thin volumes of a pool. Nothing is looked at yet. */
export function lvmStorage(settings: LvmSettings, options: StorageOptions): Storage {
  const { vg, pool } = settings;
  const device = poolDevice(vg, pool);
  const look = async (): Promise<Look> => lookAt(settings, options);
  const noPlainVolumes = (): never => {
    throw new InternalError("thin volumes are read from snapshots");
  };

  const settle = async (): Promise<void> =>
    settleLeftover(options.stateDirectory, async (thatVg, thatPool) => {
      try {
        return (await lookAt({ vg: thatVg, pool: thatPool }, options)).pool.uuid;
      } catch (error) {
        if (error instanceof StorageError && error.code === "unusable") return undefined;
        throw error;
      }
    });

  const withMetadata = async <T>(
    use: (deltas: DeltaSource) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> => {
    const aborted = signal === undefined ? options.signal : AbortSignal.any([options.signal, signal]);
    await settle();
    const { pool: found } = await look();
    aborted.throwIfAborted();
    const reservation = await reserveMetadata({ vg, pool, uuid: found.uuid }, options.stateDirectory);
    let result: T;
    try {
      // One look is enough: what the held metadata knows by these ids can't change any more.
      const seen = await look();
      const reader = verified(thinDelta(device.metadata, seen.pool.chunkSize, aborted), reservation);
      result = await use(deltaSource(reader, (snapshot) => mustBeVouchedFor(seen, snapshot)));
    } catch (error) {
      // Should this fail as well, the intent is still there, and the next run lets go.
      await reservation.release().catch(() => undefined);
      throw error;
    }
    await reservation.release();
    return result;
  };

  const openSnapshot = async (snapshot: Snapshot): Promise<OpenVolume> => {
    for (let i = 1; ; i++) {
      const seen = await look();
      const name = current(seen, snapshot)?.name;
      const lv = name === undefined ? undefined : seen.byName.get(name);
      if (lv === undefined) throw new StorageError("gone", `open ${snapshot.name}: the snapshot is gone`);
      if (!lv.active) await activate(vg, lv.name);
      try {
        return openSnapshotDevice(vg, lv);
      } catch (error) {
        if (i === opens || !(error instanceof StorageError && error.code === "gone")) throw error;
      }
    }
  };

  return {
    capabilities: { snapshots: true, delta: true },
    survey: async (names, { all = false } = {}) => surveyOf(await look(), names, all),
    createSnapshots: async (requests) => createSnapshots(requests, look, options),
    relabelSnapshots: async (changes) => relabelSnapshots(changes, look, options),
    dropSnapshots: async (snapshots) => dropSnapshots(snapshots, look, options),
    withMetadata,
    openSnapshot,
    openVolume: async () => noPlainVolumes(),
    mappedOf: noPlainVolumes,
    restore: lvmRestore(settings, options),
    recover: async () => {
      await settle();
      await settleSwap(look, vg, options.stateDirectory, restoreTags(options));
    },
  };
}

/** A reader whose answer ends well only if the metadata was held all the time. */
function verified(reader: MetadataReader, reservation: Reservation): MetadataReader {
  return {
    compare: async function* (left, right) {
      yield* reader.compare(left, right);
      await reservation.verify();
    },
  };
}

function mustBeVouchedFor(seen: Look, snapshot: Snapshot): void {
  const now = current(seen, snapshot);
  if (now === undefined) throw new StorageError("gone", `compare ${snapshot.name}: the snapshot is gone`);
  const changed =
    now.thinId !== snapshot.thinId
      ? `thin id ${now.thinId}, wanted ${snapshot.thinId}`
      : now.size !== snapshot.size
        ? `${now.size} bytes, wanted ${snapshot.size}`
        : now.readOnly
          ? undefined
          : "that it can be written to";
  if (changed !== undefined) throw new StorageError("unusable", `compare ${snapshot.name}: found ${changed}`);
}

/** After a start of the machine LVM may have left a snapshot asleep. */
async function activate(vg: string, name: string): Promise<void> {
  const complaint = await runAlone(["lvchange", "-ay", "-K", `${vg}/${name}`]);
  if (complaint !== undefined) throw new StorageError("tool", `activate ${vg}/${name}: ${complaint}`);
}
