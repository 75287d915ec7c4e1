// Old volumes that restores have put aside go when the user confirms the restored ones, or when their time is over.

import { type Kept, readKept, writeKept } from "../state/kept.ts";
import { takeLock } from "../state/lock.ts";
import type { Context } from "../context.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";

/** Removes what `chosen` takes; gives what was there. One that is gone already is only struck off. */
export async function dropKept(context: Context, chosen: (kept: Kept) => boolean): Promise<readonly Kept[]> {
  if (!readKept(context.state).some(chosen)) return [];
  using _lock = await takeLock(context.state.lock, "receive", stateLockSeconds);
  await context.storage.recover();
  const removed: Kept[] = [];
  for (const kept of readKept(context.state).filter(chosen)) {
    if (await context.storage.restore.dropKept(kept)) removed.push(kept);
    const rest = readKept(context.state).filter((each) => each.uuid !== kept.uuid || each.name !== kept.name);
    writeKept(context.state, rest);
  }
  return removed;
}

/** Removes what is older than the settings allow, and says so. What fails here is only said: the next run tries again. */
export async function dropExpired(context: Context): Promise<void> {
  const oldest = Date.now() - context.settings.keepOldDays * 86_400_000;
  try {
    for (const { name } of await dropKept(context, (each) => each.keptAt < oldest))
      context.report.notice(
        `${name}: kept for ${context.settings.keepOldDays} days after a restore, removed`,
      );
  } catch (error) {
    context.report.warn(
      `remove what restores have put aside: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
