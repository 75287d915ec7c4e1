// After a send nothing pins its snapshots any more: what no map names goes.

import { takeLock } from "../state/lock.ts";
import type { Context } from "../context.ts";
import { livingLooks } from "./look-snapshot.ts";
import { trackedVolumes } from "./maps.ts";
import { stateLockSeconds } from "./state-lock.ts";
import { tidySnapshots } from "./tidy-snapshots.ts";

/** Drops the snapshots that the run has left without a purpose. What fails here is only said: the next run tidies. */
export async function tidyAfterSend(context: Context, volumes: readonly string[]): Promise<void> {
  if (!context.storage.capabilities.snapshots || context.signal.aborted) return;
  try {
    using _lock = await takeLock(context.state.lock, "send", stateLockSeconds);
    const survey = await context.storage.survey(volumes);
    const looks = await livingLooks(context.state, survey);
    await tidySnapshots(context.storage, survey, trackedVolumes(context.state, context.report), looks);
  } catch (error) {
    context.report.warn(`tidy snapshots: ${error instanceof Error ? error.message : String(error)}`);
  }
}
