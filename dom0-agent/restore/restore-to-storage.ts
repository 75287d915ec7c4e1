// A restore into the storage that the volume came from: a new volume that is swapped in when it is complete, or, where
// that was asked for, the volume itself.

import type { Bitmap } from "../delta/bitmap.ts";
import { mappedBytes } from "./mapped-bytes.ts";
import { fillTarget } from "./fill-target.ts";
import type { Restored, Work } from "./restore-into.ts";
import { AgentError } from "../errors.ts";
import { readKept, writeKept } from "../state/kept.ts";
import { takeLock } from "../state/lock.ts";
import type { RestoreTarget } from "../storage/restore-target.ts";
import type { Snapshot } from "../storage/storage.ts";
import type { Context } from "../context.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";

interface Options {
  readonly inPlace: boolean;
  readonly sparseWrite: boolean;
  readonly base: boolean;
}

/** Restores `work.volume`. Until the last step, the volume is what it was (but for `inPlace`). */
export async function restoreToStorage(
  context: Context,
  work: Work,
  options: Options,
): Promise<Restored & { readonly target: string; readonly kept: string | undefined }> {
  const { map, volume } = work;
  const { restore } = context.storage;
  const made = await makeTarget(context, work, options);
  await using target = made.target;
  // Ends before the target is closed: no thread may write to its descriptor's next owner.
  await using _crew = work.crew;
  const onDiffering = async (differing: Bitmap): Promise<void> =>
    restore.checkRoom((piece) => mappedBytes(map, piece, differing));
  const compare = made.compare ? { chunks: made.trusted, onDiffering } : undefined;
  const restored = await fillTarget(work, target, { end: target.size, ...(compare && { compare }) });
  using _lock = await takeLock(context.state.lock, "receive", stateLockSeconds);
  let kept: string | undefined;
  const notices = await target.publish((put) => {
    kept = put.name;
    writeKept(context.state, [...readKept(context.state), put]);
  });
  if (target.size > map.size)
    context.report.notice(
      `${volume}: ${target.size - map.size} bytes of zeros follow, as the storage rounds up`,
    );
  for (const notice of notices) context.report.notice(notice);
  return { ...restored, target: options.inPlace ? `${target.name} in place` : volume, kept };
}

interface Made {
  readonly target: RestoreTarget;
  /** It holds something that may be what is wanted already, up to that many chunks. */
  readonly compare: boolean;
  readonly trusted: number;
}

async function makeTarget(context: Context, { map, volume }: Work, options: Options): Promise<Made> {
  using _lock = await takeLock(context.state.lock, "receive", stateLockSeconds);
  const { restore } = context.storage;
  await context.storage.recover();
  await settle(context, volume);
  const all = { volume, size: map.size, needs: (piece: number) => mappedBytes(map, piece) };
  const nothing = { volume, size: map.size, needs: () => 0 };
  const everything = Number.POSITIVE_INFINITY;
  if (options.inPlace) {
    const target = await restore.openInPlace(options.sparseWrite ? nothing : all);
    return { target, compare: options.sparseWrite, trusted: everything };
  }
  const base = options.base ? await baseOf(context, volume) : undefined;
  if (base === undefined)
    return { target: await restore.createTarget(all), compare: false, trusted: everything };
  const smaller = Math.floor(Math.min(base.size, map.size) / map.chunkSize);
  const trusted = base.size < map.size ? smaller : everything;
  return { target: await restore.createTarget({ ...nothing, base }), compare: true, trusted };
}

/** Settles what restores that were cut short have left. Throws AgentError where that of `volume` can't be settled: there
 *  is no room for another one then, and nothing that it could take the place of. */
async function settle({ storage, report }: Context, volume: string): Promise<void> {
  const left = await storage.restore.settle();
  for (const each of left)
    if (each.volume !== volume) report.warn(`${each.volume}: ${each.why}; ${each.hint}`);
  const own = left.find((each) => each.volume === volume);
  if (own !== undefined) throw new AgentError("failed", `${volume}: ${own.why}`, own.hint);
}

/** The volume's last snapshot. It is only where the restore begins: every chunk of it is checked. */
async function baseOf(context: Context, volume: string): Promise<Snapshot | undefined> {
  if (!context.storage.capabilities.snapshots) return undefined;
  const { snapshots } = await context.storage.survey([volume]);
  return snapshots.find((each) => each.volume === volume && each.label === "tick" && each.readOnly);
}
