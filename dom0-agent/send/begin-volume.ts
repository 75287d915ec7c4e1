// The start of a send of one volume, under the state's lock: what an earlier send has left is settled, the snapshot
// is pinned, and the delta map is split into what is sent now and what comes in from now on (design section 5).

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { bitmap } from "../delta/bitmap.ts";
import { chunkCount } from "../../protocol/archive/manifest.ts";
import { takeLock } from "../state/lock.ts";
import { type DeltaMap, writeDeltaMap } from "../state/delta-map.ts";
import { writePending } from "../state/pending.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { type Snapshot, StorageError, type VolumeState } from "../storage/storage.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { snapshotOf } from "../monitor/maps.ts";
import { monitorLocked, type MonitoredVolume } from "../monitor/monitor.ts";
import { reconcile, vouchedBase } from "./reconcile.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { makeDirectory } from "../state/writing.ts";

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
export type Monitored = ReadonlyMap<string, MonitoredVolume>;

/** Settles what is pending, finds what to read, pins it and splits the map. */
export async function beginVolume(
  context: Context,
  open: OpenArchive,
  known: KnownVolume,
  index: VolumeIndex | undefined,
  session: SessionUid,
  monitored: Monitored,
  { committed }: { readonly committed: boolean },
): Promise<Source> {
  const paths = open.paths.volume(known.id);
  makeDirectory(paths.directory);
  if (!context.storage.capabilities.snapshots) return liveSource(context, known.name);
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
  // A monitor that came in between may have taken another one, of which nobody here knows what it was made from.
  if (snapshot === undefined || seen?.tick.uuid !== snapshot.uuid) {
    const [result] = await monitorLocked(context, { volumes: [known.name], committed, forSend: true });
    if (result === undefined) throw new StorageError("gone", `${known.name}: there is no such volume`);
    if (!result.ok) throw result.error;
    map = vouchedBase(paths, index, notice);
    survey = await context.storage.survey([known.name]);
    snapshot = result.tick;
    seen = result;
    if (map !== undefined && snapshotOf(map, survey)?.uuid !== snapshot.uuid) map = undefined;
  }
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
  // Where nothing had changed, an older snapshot was still as the volume is.
  return { snapshot, state: seen.source, size: snapshot.size, takenAt: seen.takenAt, map };
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
