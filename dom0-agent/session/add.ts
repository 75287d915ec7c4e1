// add: begin to track volumes. It is a line in the settings; the next send does the rest.

import { readFileSync, realpathSync } from "node:fs";
import { enableVolume } from "../config/enable-volume.ts";
import { replaceSettings } from "../config/replace-settings.ts";
import type { Context } from "../context.ts";
import { AgentError } from "../errors.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { takeLock } from "../state/lock.ts";

/** Enables volumes in the settings file, which is replaced whole. Gives those that were not enabled before. Throws
 *  AgentError for a volume that is not there, `locked`, and where the file can't be written: then the hint says what to
 *  add. */
export async function add(context: Context, volumes: readonly string[]): Promise<readonly string[]> {
  const survey = await context.storage.survey(volumes);
  for (const each of volumes) {
    if (survey.volumes.has(each)) continue;
    throw new AgentError("failed", `add: ${each}: ${survey.unusable.get(each) ?? "there is no such volume"}`);
  }
  const added = volumes.filter((each) => context.settings.volumes.get(each) !== true);
  using _lock = await takeLock(context.state.lock, "add", stateLockSeconds);
  const path = realpathSync(context.settings.file);
  const before = readFileSync(path, "utf8");
  const after = added.reduce(enableVolume, before);
  if (after === before) return [];
  try {
    replaceSettings(path, after);
  } catch (error) {
    throw new AgentError(
      "failed",
      `add: write ${path}: ${(error as Error).message}`,
      `add to [volumes]: ${added.map((each) => `${each} = enable`).join(", ")}`,
    );
  }
  return added;
}
