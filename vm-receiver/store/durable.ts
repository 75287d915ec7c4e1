// Making things last (design section 7): few files are synced one by one; many by syncing their file system, whose exit
// status counts; on FUSE, where syncing the file system proves nothing, always one by one.

import { closeSync, constants, fsync, openSync, statfsSync } from "node:fs";
import { promisify } from "node:util";
import type { Directory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { runOn } from "../tools.ts";

const fsyncFile = promisify(fsync);
const fuseMagic = 0x65735546;

/** Up to this many files, syncing each is cheaper than everything that the file system has to write. */
export const fewFiles = 64;

/** True where syncing the file system does not make its files last. */
export function isFuse(directory: Directory): boolean {
  return statfsSync(`/proc/self/fd/${directory.fd}`).type === fuseMagic;
}

/** A sync that could not be started or was ended, perhaps with all of the machine: it says nothing of what was written. */
export class SyncCutShortError extends RefusalError {}

/** Writes out everything of the file system that `directory` lies on. Throws RefusalError `io` when that fails. */
export async function syncFileSystem(directory: Directory): Promise<void> {
  const { exitCode, problem } = await runOn(directory.fd, "sync", ["--file-system", "/proc/self/fd/0"]);
  if (exitCode === 0) return;
  if (exitCode === undefined)
    throw new SyncCutShortError("io", `syncing the file system did not come to its end: ${problem}`);
  throw new RefusalError(
    "io",
    `syncing the file system failed: ${problem === "" ? `status ${exitCode}` : problem}`,
  );
}

/** Syncs a file of `directory` by its name, without holding up the heartbeat. */
export async function syncNamed(directory: Directory, name: string): Promise<void> {
  const fd = openSync(directory.at(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await fsyncFile(fd);
  } finally {
    closeSync(fd);
  }
}
