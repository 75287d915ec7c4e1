// Old volumes that restores have put aside go when the user confirms the restored ones, or when their time is over.

import { type Kept, readKept, writeKept } from "../state/kept.ts";
import { takeLock } from "../state/lock.ts";
import type { DropOutcome } from "../storage/restore-target.ts";
import type { Context } from "../context.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";

/** One that was to be removed, and what became of it. */
export interface Dropped extends Kept {
  readonly outcome: DropOutcome;
}

/** Removes what `chosen` takes; gives what became of each. One that is gone already is struck off; one that is left alone
 *  stays on the list. */
export async function dropKept(
  context: Context,
  chosen: (kept: Kept) => boolean,
): Promise<readonly Dropped[]> {
  if (!readKept(context.state).some(chosen)) return [];
  using _lock = await takeLock(context.state.lock, "receive", stateLockSeconds);
  await context.storage.recover();
  const dropped: Dropped[] = [];
  for (const kept of readKept(context.state).filter(chosen)) {
    const outcome = await context.storage.restore.dropKept(kept);
    dropped.push({ ...kept, outcome });
    if (isLeft(outcome)) continue;
    const rest = readKept(context.state).filter((each) => each.uuid !== kept.uuid || each.name !== kept.name);
    writeKept(context.state, rest);
  }
  return dropped;
}

/** Why something was left alone. */
export const whyLeft: Readonly<Record<"unrecognised" | "last", string>> = {
  unrecognised: "it is not what the restore put aside; move it away or remove it yourself",
  last: "nothing has the volume's own name, and it may be all that is left of it; give it that name, or remove it yourself",
};

export function isLeft(outcome: DropOutcome): outcome is keyof typeof whyLeft {
  return outcome in whyLeft;
}

/** Removes what is older than the settings allow, and says so. What fails here is only said: the next run tries again. */
export async function dropExpired(context: Context): Promise<void> {
  const oldest = Date.now() - context.settings.keepOldDays * 86_400_000;
  try {
    for (const { name, outcome } of await dropKept(context, (each) => each.keptAt < oldest)) {
      const kept = `${name}: kept for ${context.settings.keepOldDays} days after a restore`;
      if (outcome === "removed") context.report.notice(`${kept}, removed`);
      if (isLeft(outcome)) context.report.warn(`${kept}, and not removed: ${whyLeft[outcome]}`);
    }
  } catch (error) {
    context.report.warn(
      `remove what restores have put aside: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
