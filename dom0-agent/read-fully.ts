// Reading at a place of a file or device: all that is wanted, or an error that says what of, and where.

import { readSync } from "node:fs";

/** The system can't read a place; `code` is its own, EIO for a bad sector. */
export class ReadError extends Error {
  override readonly name: string = "ReadError";
  readonly code: string | undefined;

  constructor(what: string, position: number, cause: NodeJS.ErrnoException) {
    super(`read ${what} at byte ${position}: ${cause.message}`, { cause });
    this.code = cause.code;
  }
}

/** Fills `target` from byte `position` on; `what` names the file. Throws RangeError where it ends before, and ReadError. */
export function readFully(fd: number, target: Uint8Array, position: number, what: string): void {
  const got = readAvailable(fd, target, position, what);
  if (got < target.length)
    throw new RangeError(
      `read ${what}: found its end at byte ${position + got}, wanted ${position + target.length} bytes`,
    );
}

/** The same as far as the file goes; gives how many bytes that were. */
export function readAvailable(fd: number, target: Uint8Array, position: number, what: string): number {
  let done = 0;
  while (done < target.length) {
    const got = readSome(fd, target.subarray(done), position + done, what);
    if (got === 0) break;
    done += got;
  }
  return done;
}

function readSome(fd: number, target: Uint8Array, position: number, what: string): number {
  try {
    return readSync(fd, target, 0, target.length, position);
  } catch (error) {
    throw new ReadError(what, position, error as NodeJS.ErrnoException);
  }
}
