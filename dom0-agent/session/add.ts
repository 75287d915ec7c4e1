// add: begin to track volumes. It is a line in the settings; the next send does the rest.

import { readFileSync, realpathSync, statSync } from "node:fs";
import { chmodSync, chownSync, closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { utf8 } from "../../protocol/wire/writer.ts";
import { enableVolume } from "../config/enable-volume.ts";
import { AgentError } from "../errors.ts";
import { syncDirectory, temporaryOf, writeAll } from "../state/atomic-file.ts";
import type { Context } from "../context.ts";

/** Enables volumes in the settings file, which is replaced whole. Gives those that were not enabled before. Throws
 *  AgentError for a volume that is not there, and where the file can't be written: then the hint says what to add. */
export async function add(context: Context, volumes: readonly string[]): Promise<readonly string[]> {
  const survey = await context.storage.survey(volumes);
  for (const each of volumes) {
    if (survey.volumes.has(each)) continue;
    throw new AgentError("failed", `add: ${each}: ${survey.unusable.get(each) ?? "there is no such volume"}`);
  }
  const added = volumes.filter((each) => context.settings.volumes.get(each) !== true);
  const path = realpathSync(context.settings.file);
  const before = readFileSync(path, "utf8");
  const after = added.reduce(enableVolume, before);
  if (after === before) return [];
  try {
    replaceKeepingOwner(path, after);
  } catch (error) {
    throw new AgentError(
      "failed",
      `add: write ${path}: ${(error as Error).message}`,
      `add to [volumes]: ${added.map((each) => `${each} = enable`).join(", ")}`,
    );
  }
  return added;
}

/** Not replaceFile: the settings may belong to somebody else, and lie where a name is not to be followed. */
function replaceKeepingOwner(path: string, text: string): void {
  const { mode, uid, gid } = statSync(path);
  const temporary = temporaryOf(path);
  // One that a crash has left behind.
  rmSync(temporary, { force: true });
  const fd = openSync(temporary, "wx", 0o600);
  try {
    try {
      writeAll(fd, utf8(text));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    chmodSync(temporary, mode & 0o7777);
    const own = statSync(temporary);
    if (own.uid !== uid || own.gid !== gid) chownSync(temporary, uid, gid);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}
