// The start of a send of one volume, under the state's lock: what an earlier send has left is settled, the snapshot
// is pinned, and the delta map is split into what is sent now and what comes in from now on (design section 5).

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { bitmap } from "../delta/bitmap.ts";
import { chunkCount } from "../../protocol/archive/manifest.ts";
import { takeLock } from "../state/lock.ts";
import { makeDirectory } from "../state/atomic-file.ts";
import { type DeltaMap, writeDeltaMap } from "../state/delta-map.ts";
import { writePending } from "../state/pending.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { type Snapshot, StorageError, type VolumeState } from "../storage/storage.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { snapshotOf } from "../monitor/maps.ts";
import { monitorLocked } from "../monitor/monitor.ts";
import { reconcile, vouchedBase } from "./reconcile.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";

/** What a send reads. */
export interface Source {
  /** undefined where the storage has none, and the volume itself is read. */
  readonly snapshot: Snapshot | undefined;
  readonly state: VolumeState;
  /** Bytes. */
  readonly size: number;
  readonly takenAt: number;
  /** The vouched delta map that the send starts from. */
  readonly map: DeltaMap | undefined;
}

/** What the monitor of this run saw, by volume. */
export type Monitored = ReadonlyMap<string, { readonly source: VolumeState; readonly takenAt: number }>;

/**
 * Settles what is pending and finds what to read. `commits` is false for a volume that turns out to be unchanged:
 * then nothing is pinned and nothing split.
 */
export async function beginVolume(
  context: Context,
  open: OpenArchive,
  known: KnownVolume,
  index: VolumeIndex | undefined,
  session: SessionUid,
  monitored: Monitored,
  options: { readonly committed: boolean; readonly skipUnchanged: boolean },
): Promise<Source & { readonly unchanged: boolean }> {
  const paths = open.paths.volume(known.id);
  makeDirectory(paths.directory);
  if (!context.storage.capabilities.snapshots)
    return { ...(await liveSource(context, known.name)), unchanged: false };
  using _lock = await takeLock(context.state.lock, "send", stateLockSeconds);
  reconcile(paths, index);
  const notice = (message: string): void => context.report.notice(`${known.name}: ${message}`);
  let map = vouchedBase(paths, index, notice);
  let survey = await context.storage.survey([known.name]);
  let snapshot = map && snapshotOf(map, survey);
  if (snapshot === undefined) {
    map = undefined;
    snapshot = survey.snapshots.find(
      (each) => each.volume === known.name && each.label === "tick" && each.readOnly,
    );
  }
  let seen = monitored.get(known.name);
  if (snapshot === undefined || seen === undefined) {
    const [result] = await monitorLocked(context, {
      volumes: [known.name],
      committed: options.committed,
      forSend: true,
    });
    if (result === undefined) throw new StorageError("gone", `${known.name}: there is no such volume`);
    if (!result.ok) throw result.error;
    map = vouchedBase(paths, index, notice);
    survey = await context.storage.survey([known.name]);
    snapshot = result.tick;
    seen = result;
    if (map !== undefined && snapshotOf(map, survey)?.uuid !== snapshot.uuid) map = undefined;
  }
  // A monitor that came in between has taken a newer one; where nothing had changed, an older one is still as it is.
  const takenAt = Math.max(seen.takenAt, snapshot.createdAt);
  const source: Source = { snapshot, state: seen.source, size: snapshot.size, takenAt, map };
  const last = index?.sessions.at(-1);
  const unchanged =
    map !== undefined && last?.size === snapshot.size && map.bits.bytes.every((byte) => byte === 0);
  if (unchanged && options.skipUnchanged) return { ...source, unchanged: true };
  writePending(paths, { session, snapshotUuid: snapshot.uuid, sending: map });
  const { chunkSize } = open.record;
  writeDeltaMap(paths.delta, {
    archive: open.record.uuid,
    volume: known.id,
    base: session,
    baseMapRoot: new Uint8Array(32) as DeltaMap["baseMapRoot"],
    chunkSize,
    size: snapshot.size,
    poolUuid: survey.pool.uuid,
    snapshotUuid: snapshot.uuid,
    thinId: snapshot.thinId,
    bits: bitmap(chunkCount(snapshot.size, chunkSize)),
  });
  return { ...source, unchanged };
}

/** A volume that is read as it is: it must not change meanwhile. */
async function liveSource(context: Context, name: string): Promise<Source> {
  const survey = await context.storage.survey([name]);
  const state = survey.volumes.get(name);
  if (state === undefined) {
    throw new StorageError(
      survey.unusable.has(name) ? "unusable" : "gone",
      `${name}: ${survey.unusable.get(name) ?? "there is no such volume"}`,
    );
  }
  return { snapshot: undefined, state, size: state.size, takenAt: Date.now(), map: undefined };
}
