// Snapshots of volumes that were removed from this machine hold room in the pool; they are kept for a time that the
// settings name, since a volume may come back (design section 5).

import { removeFile } from "../state/atomic-file.ts";
import { readGone, writeGone } from "../state/gone.ts";
import { isHeldHere, tryLock } from "../state/lock.ts";
import { removePending } from "../state/pending.ts";
import { DamagedStateError } from "../state/record.ts";
import type { StateLayout } from "../state/layout.ts";
import type { Survey } from "../storage/storage.ts";
import type { Reporter } from "../context.ts";
import type { TrackedVolume } from "./maps.ts";

const day = 86_400_000;

/**
 * Drops the delta maps of volumes that have been gone for longer than `days`, and what is noted of interrupted sends;
 * nothing names their snapshots then. Gives the volumes as they are tracked now. `survey` must have been asked for all of
 * them. Call under the state's lock.
 */
export async function dropGone(
  state: StateLayout,
  survey: Survey,
  tracked: readonly TrackedVolume[],
  days: number,
  report: Reporter,
): Promise<readonly TrackedVolume[]> {
  const before = goneBefore(state, report);
  const names = new Set(tracked.filter(namesSnapshot).map((each) => each.known.name));
  const now = Date.now();
  const gone = new Map(
    [...names]
      .filter((name) => !survey.volumes.has(name) && !survey.unusable.has(name))
      // A time to come is of a clock that was wrong.
      .map((name) => [name, Math.min(before.get(name) ?? now, now)]),
  );
  const isSame = gone.size === before.size && [...gone].every(([name, since]) => before.get(name) === since);
  if (!isSame) writeGone(state, gone);
  const over = new Set([...gone].filter(([, since]) => now - since > days * day).map(([name]) => name));
  const left: TrackedVolume[] = [];
  const dropped = new Set<string>();
  for (const each of tracked) {
    const isOver = namesSnapshot(each) && over.has(each.known.name);
    if (!isOver || !(await drop(state, each))) left.push(each);
    else {
      left.push({ ...each, map: undefined, pending: undefined });
      dropped.add(each.known.name);
    }
  }
  for (const name of dropped)
    report.notice(`${name}: gone from this machine for more than ${days} days; its snapshot is dropped`);
  return left;
}

function namesSnapshot({ map, pending }: TrackedVolume): boolean {
  return map !== undefined || pending !== undefined;
}

/** False where another run works on the archive: it may be a send that is reading the snapshot just now. This run's own
 *  sends begin behind their monitor. */
async function drop(state: StateLayout, { archiveName, paths, pending }: TrackedVolume): Promise<boolean> {
  const path = state.archive(archiveName).lock;
  const isOurs = pending === undefined || isHeldHere(path);
  using lock = isOurs ? undefined : await tryLock(path);
  if (!isOurs && lock === undefined) return false;
  removeFile(paths.delta);
  removePending(paths);
  return true;
}

function goneBefore(state: StateLayout, report: Reporter): ReadonlyMap<string, number> {
  try {
    return readGone(state);
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    report.warn(`${error.message}; how long volumes have been gone is counted from now`);
    return new Map();
  }
}
