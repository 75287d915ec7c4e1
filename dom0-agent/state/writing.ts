// Writing to dom0's own disk. What goes wrong there is told apart from what goes wrong at the destination: it names the
// file, and where the disk is full, which one.

import { constants, mkdirSync, openSync, readlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { getSystemErrorMessage } from "node:util";
import { AgentError } from "../errors.ts";

/** A file of dom0's state can't be written. */
export class StateWriteError extends AgentError {
  override readonly name: string = "StateWriteError";

  constructor(path: string, cause: NodeJS.ErrnoException) {
    const { code = "", errno } = cause;
    const why = errno === undefined ? cause.message : `${getSystemErrorMessage(errno)} (${code})`;
    const isFull = code === "ENOSPC" || code === "EDQUOT";
    const hint = isFull
      ? `make room on the file system of ${dirname(path)}, which is this machine's own`
      : undefined;
    super("failed", `write ${path}: ${why}`, hint, { cause });
  }
}

/** What `write` gives, which writes the file or directory at `path`. Throws StateWriteError for what the system refuses. */
export function writing<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw new StateWriteError(path, error as NodeJS.ErrnoException);
  }
}

/** Makes a directory for us alone, with its parents. Throws StateWriteError. */
export function makeDirectory(path: string): void {
  writing(path, () => mkdirSync(path, { recursive: true, mode: 0o700 }));
}

/** An empty file at `path` for us alone, open for reading and writing. Throws StateWriteError. */
export function createFile(path: string): number {
  return writing(path, () => openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600));
}

/** Writes all of `bytes`, at `position` or where the descriptor stands. Throws StateWriteError. */
export function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  try {
    for (let done = 0; done < bytes.length;)
      done += writeSync(
        fd,
        bytes,
        done,
        bytes.length - done,
        position === undefined ? null : position + done,
      );
  } catch (error) {
    throw new StateWriteError(pathOf(fd), error as NodeJS.ErrnoException);
  }
}

/** Where a file lies; of one that has no name any more, in which directory it did. */
function pathOf(fd: number): string {
  return readlinkSync(`/proc/self/fd/${fd}`).replace(/[^/]* \(deleted\)$/, "a temporary file");
}
