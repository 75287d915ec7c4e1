// Replacing a file whole, so that a crash leaves the old one or the new one: write, fsync, rename, fsync of the
// directory (design section 5).

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { plainBytes } from "../../protocol/bytes.ts";

/** Where the file that is to become `path` is written. A crash can leave it behind. */
export function temporaryOf(path: string): string {
  return `${path}.new`;
}

/** Whether it is such a file's name. */
export function isTemporary(name: string): boolean {
  return name.endsWith(temporaryOf(""));
}

/** Replaces `path` by a file of mode 0600 that holds `parts` one after another. */
export function replaceFile(path: string, parts: readonly Uint8Array[]): void {
  const temporary = temporaryOf(path);
  const fd = openSync(temporary, "w", 0o600);
  try {
    for (const part of parts) writeAll(fd, part);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  syncDirectory(dirname(path));
}

/** Removes `path`, and makes that last; a file that is not there is fine. */
export function removeFile(path: string): void {
  rmSync(path, { force: true });
  syncDirectory(dirname(path));
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

/** Makes a directory for us alone, with its parents. */
export function makeDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
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

/** Writes all of `bytes`, at `position` or where the descriptor stands. */
export function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position === undefined ? null : position + done);
  }
}
