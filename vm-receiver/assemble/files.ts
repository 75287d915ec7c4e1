// Reading files of an archive: regular ones only, never through a link, never a byte more than what was asked for, so
// that a device or a pipe under one of our names can't stall or flood the reader.

import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from "node:fs";
import { FormatError } from "../../protocol/errors.ts";

export interface OpenFile {
  readonly fd: number;
  /** Bytes, as of the opening. */
  readonly size: number;
}

// O_NONBLOCK: a pipe without a writer opens at once and is then refused.
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Opens a regular file by a path without links, the beginning `/proc/self/fd/N` apart. Throws the system's error, or
 *  FormatError `bad-value` for what is no regular file, and where a link on the way has led elsewhere. */
export function openRegular(path: string): OpenFile {
  let fd: number;
  try {
    fd = openSync(path, readFlags);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ELOOP") throw notRegular();
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw notRegular();
    checkWay(fd, path);
    return { fd, size: stat.size };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Only the last part of a path can be kept from being a link when it is opened; where the others have led is seen then. */
function checkWay(fd: number, path: string): void {
  const [start = ""] = /^\/proc\/self\/fd\/\d+(?=\/)/.exec(path) ?? [];
  const wanted = start === "" ? path : readlinkSync(start) + path.slice(start.length);
  const found = readlinkSync(`/proc/self/fd/${fd}`);
  // A prune may have removed it meanwhile.
  if (found === wanted || found === `${wanted} (deleted)`) return;
  throw new FormatError("bad-value", "a symbolic link stands in place of a directory on the way to it");
}

function notRegular(): FormatError {
  return new FormatError("bad-value", "not a regular file");
}

/** Fills `into` from byte `offset` of the file. Throws FormatError `truncated` where the file ends before. */
export function readFully(fd: number, into: Uint8Array, offset: number): void {
  let done = 0;
  while (done < into.length) {
    const count = readSync(fd, into, done, into.length - done, offset + done);
    if (count === 0) {
      throw new FormatError(
        "truncated",
        `the file ends at byte ${offset + done}, wanted ${offset + into.length}`,
      );
    }
    done += count;
  }
}

/** All of a file of at most `max` bytes. Throws FormatError `too-long` for a larger one. */
export function readWhole(path: string, max: number): Uint8Array {
  const { fd, size } = openRegular(path);
  try {
    if (size > max) throw new FormatError("too-long", `${size} bytes, at most ${max} allowed`);
    const bytes = new Uint8Array(size);
    readFully(fd, bytes, 0);
    return bytes;
  } finally {
    closeSync(fd);
  }
}
