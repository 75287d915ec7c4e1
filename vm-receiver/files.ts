// Reading and writing files of the archive: regular ones only, never through a link, never over something that exists.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  unlinkSync,
  writeSync,
} from "node:fs";
import { FormatError } from "../protocol/errors.ts";
import type { Directory } from "./directory.ts";
import { systemCode, unless } from "./errors.ts";

/** An open file, or a stretch of one: `length` bytes from `offset`. */
export interface StoredFile extends Disposable {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
}

// O_NONBLOCK: a pipe under one of our names opens at once, and is then refused.
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const createFlags = constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Opens a regular file; undefined where it is not there. FormatError `bad-value` for anything that is no file. */
export function openFile(directory: Directory, name: string): StoredFile | undefined {
  let fd: number;
  try {
    fd = openSync(directory.at(name), readFlags);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (systemCode(error) === "ELOOP")
      throw new FormatError("bad-value", "a symbolic link in place of a file");
    throw error;
  }
  const file = { fd, offset: 0, length: 0, [Symbol.dispose]: () => closeSync(fd) };
  const stat = fstatSync(fd);
  if (stat.isFile()) return { ...file, length: stat.size };
  closeSync(fd);
  throw new FormatError("bad-value", "something that is no regular file in place of a file");
}

/** Creates a file that does not exist, readable for us alone, and gives its descriptor. EEXIST where it does. */
export function createFile(directory: Directory, name: string, readable = false): number {
  const mode = readable ? constants.O_RDWR : constants.O_WRONLY;
  return openSync(directory.at(name), createFlags | mode, 0o600);
}

/** All of a file of at most `max` bytes, or undefined where it is not there. FormatError `too-long` above. */
export function readWhole(directory: Directory, name: string, max: number): Uint8Array | undefined {
  using file = openFile(directory, name);
  if (file === undefined) return undefined;
  if (file.length > max)
    throw new FormatError("too-long", `a file of ${file.length} bytes, at most ${max} allowed`);
  return readStretch(file, 0, file.length);
}

/** `length` bytes of a stored file from `at`; FormatError `truncated` where it ends before. */
export function readStretch(file: StoredFile, at: number, length: number): Uint8Array {
  checkStretch(file, at, length);
  const bytes = new Uint8Array(length);
  fillFrom(file, at, bytes);
  return bytes;
}

/** The same into an array that is there. */
export function fillFrom(file: StoredFile, at: number, into: Uint8Array): void {
  checkStretch(file, at, into.length);
  for (let done = 0; done < into.length;) {
    const count = readSync(file.fd, into, done, into.length - done, file.offset + at + done);
    if (count === 0) throw new FormatError("truncated", `a file ends after ${at + done} bytes`);
    done += count;
  }
}

function checkStretch(file: StoredFile, at: number, length: number): void {
  if (at < 0 || at + length > file.length)
    throw new FormatError("truncated", `a file of ${file.length} bytes is too short`);
}

/** Writes all of `bytes`, at `position` or where the descriptor stands. */
export function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position === undefined ? null : position + done);
  }
}

/** What stands under a name, or undefined; a link is not followed. */
export function statOf(directory: Directory, name: string): Stats | undefined {
  return unless(["ENOENT"], () => lstatSync(directory.at(name)));
}

/** Removes a file; one that is not there is fine. Throws what the system throws, EISDIR for a directory. */
export function removeFile(directory: Directory, name: string): void {
  unless(["ENOENT"], () => unlinkSync(directory.at(name)));
}
