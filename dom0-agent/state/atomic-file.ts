// Replacing a file whole, so that a crash leaves the old one or the new one: write, fsync, rename, fsync of the
// directory (design section 5).

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { plainBytes } from "../../protocol/bytes.ts";
import { createFile, writeAll, writing } from "./writing.ts";

/** Where the file that is to become `path` is written. A crash can leave it behind. */
export function temporaryOf(path: string): string {
  return `${path}.new`;
}

/** Whether it is such a file's name. */
export function isTemporary(name: string): boolean {
  return name.endsWith(temporaryOf(""));
}

/** Replaces `path` by a file of mode 0600 that holds `parts` one after another. Throws StateWriteError; then the old file
 *  may be there still. */
export function replaceFile(path: string, parts: readonly Uint8Array[]): void {
  const temporary = temporaryOf(path);
  try {
    const fd = createFile(temporary);
    try {
      for (const part of parts) writeAll(fd, part);
      writing(temporary, () => fsyncSync(fd));
    } finally {
      closeSync(fd);
    }
    writing(path, () => renameSync(temporary, path));
  } catch (error) {
    // Where the disk is full, it is in the way.
    removeIfPossible(temporary);
    throw error;
  }
  writing(path, () => syncDirectory(dirname(path)));
}

function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // What stands in the way of writing may stand in the way of this as well.
  }
}

/** Removes `path`, and makes that last; a file that is not there is fine. Throws StateWriteError. */
export function removeFile(path: string): void {
  writing(path, () => {
    rmSync(path, { force: true });
    syncDirectory(dirname(path));
  });
}

/** The file's bytes, or undefined where it does not exist. */
export function readIfThere(path: string): Uint8Array | undefined {
  try {
    return plainBytes(readFileSync(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes what happened to names in `path` last. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
