// A snapshot for looking at a volume as it is now, beside whatever monitors and sends do: made under the state's lock, and
// left alone by their tidying up while the lock of looks is held. What a killed look leaves, the next tidying takes.

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Lock, takeLock } from "../state/lock.ts";
import type { StateLayout } from "../state/layout.ts";
import { AgentError } from "../errors.ts";
import { type OpenVolume, StorageError, type Survey } from "../storage/storage.ts";
import type { Context } from "../context.ts";
import { stateLockSeconds } from "./state-lock.ts";

function lockPath(state: StateLayout): string {
  return join(state.directory, "look.lock");
}

/** The lock of looks, for the whole of a command that makes some. Throws AgentError `locked`. */
export async function lookLock(state: StateLayout, what: string): Promise<Lock> {
  return takeLock(lockPath(state), what, 0);
}

/** The snapshots that a look which goes on has made: tidying leaves them alone. Call under the state's lock. */
export async function livingLooks(state: StateLayout, survey: Survey): Promise<ReadonlySet<string>> {
  const looks = survey.snapshots.filter((each) => each.label.startsWith("look-"));
  if (looks.length === 0) return new Set();
  try {
    using _lock = await takeLock(lockPath(state), "look", 0);
    return new Set();
  } catch (error) {
    if (!(error instanceof AgentError) || error.reason !== "locked") throw error;
    return new Set(looks.map((each) => each.uuid));
  }
}

/** A volume as it is now, open for reading. Disposing of it removes the snapshot. Throws StorageError. */
export async function openLook(
  context: Context,
  volume: string,
  options: { readonly committed: boolean },
): Promise<OpenVolume> {
  const { storage, state } = context;
  if (!storage.capabilities.snapshots) {
    const survey = await storage.survey([volume]);
    const found = survey.volumes.get(volume);
    if (found === undefined)
      throw new StorageError("gone", survey.unusable.get(volume) ?? `${volume}: there is no such volume`);
    return storage.openVolume(found);
  }
  using _lock = await takeLock(state.lock, "diff", stateLockSeconds);
  await storage.recover();
  const label = `look-${randomBytes(4).toString("hex")}`;
  const [made] = await storage.createSnapshots([{ volume, label, committed: options.committed }]);
  if (made === undefined) throw new StorageError("gone", `${volume}: no snapshot was made`);
  if (!made.ok) throw made.error;
  const { snapshot } = made;
  try {
    const opened = await storage.openSnapshot(snapshot);
    return {
      ...opened,
      checkUnchanged: async () => opened.checkUnchanged(),
      [Symbol.asyncDispose]: async () => {
        await opened[Symbol.asyncDispose]();
        using _again = await takeLock(state.lock, "diff", stateLockSeconds);
        await storage.dropSnapshots([snapshot]);
      },
    };
  } catch (error) {
    await storage.dropSnapshots([snapshot]);
    throw error;
  }
}
