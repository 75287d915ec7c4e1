// The image as a file that appears whole or not at all: written under another name beside its target, synced, then
// linked to its name, which never replaces anything unless that was asked for (design section 7, "Durability").

import {
  closeSync,
  constants,
  fsync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { AssembleError, systemCode } from "./errors.ts";
import { formatBytes, printable } from "./printable.ts";

export interface OutputFile {
  /** Open for reading and writing; everything not written reads as zeros. */
  readonly fd: number;
  /** Its name for now. */
  readonly partPath: string;
  /** Begins to sync what has been written so far; publish waits for it. */
  beginSync(): void;
  /** Syncs it and gives it its name. Throws AssembleError `exists`, `no-space`, `io`. */
  publish(): Promise<void>;
  /** Closes it, and removes it where it has not been published. Idempotent. */
  discard(): void;
}

const fsyncLater = promisify(fsync);
/** Most bytes of a file's name on every usual file system. */
const maxNameBytes = 255;

/** Throws AssembleError `exists` or `bad-output` where `path` can't become the image. */
export function checkTarget(path: string, replace: boolean): void {
  let stat: Stats;
  try {
    stat = lstatSync(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw outputError(error, path);
  }
  const shown = printable(path);
  if (stat.isBlockDevice()) {
    throw new AssembleError(
      "bad-output",
      `output is a block device, wanted a file, ${shown}`,
      "this version does not write to devices; build a file, or pipe `-o -` into a program that writes there",
    );
  }
  if (stat.isDirectory())
    throw new AssembleError("bad-output", `output is a directory, wanted a file, ${shown}`);
  if (!stat.isFile() && !(replace && stat.isSymbolicLink())) {
    throw new AssembleError(
      "bad-output",
      `output exists and is no regular file, ${shown}`,
      "`-o -` writes to standard output, whatever that is",
    );
  }
  if (!replace) throw existsError(path);
}

/** Makes the file for an image of `size` bytes that is to be called `path`, mode 0600, all holes. */
export function createOutputFile(path: string, size: number, replace: boolean): OutputFile {
  checkTarget(path, replace);
  const directory = dirname(path);
  const partPath = join(directory, partName(basename(path)));
  let fd: number;
  try {
    fd = openSync(
      partPath,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
  } catch (error) {
    throw outputError(error, path);
  }
  let state: "open" | "published" | "gone" = "open";
  let early: Promise<void> = Promise.resolve();
  const output: OutputFile = {
    fd,
    partPath,
    beginSync: () => {
      early = fsyncLater(fd);
      early.catch(() => undefined); // publish throws it
    },
    publish: async () => {
      try {
        await early;
        await fsyncLater(fd);
        giveName(partPath, path, replace);
        state = "published";
        syncDirectory(directory);
      } catch (error) {
        throw outputError(error, path);
      }
    },
    discard: () => {
      if (state === "gone") return;
      if (state === "open") removeIfThere(partPath);
      state = "gone";
      closeSync(fd);
    },
  };
  try {
    ftruncateSync(fd, size);
  } catch (error) {
    output.discard();
    throw outputError(error, path, size);
  }
  return output;
}

/** Writes all of `bytes` at `offset`. Throws AssembleError `no-space`, `too-large`, `io`. */
export function writeFully(fd: number, bytes: Uint8Array, offset: number, path: string): void {
  try {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
    }
  } catch (error) {
    throw outputError(error, path);
  }
}

/** `.NAME.part-…`, NAME cut so that the whole is not too long. */
function partName(name: string): string {
  const end = `.part-${randomBytes(6).toString("hex")}`;
  let kept = name;
  while (Buffer.byteLength(kept) > maxNameBytes - 1 - end.length) kept = kept.replace(/.$/su, "");
  return `.${kept}${end}`;
}

function giveName(partPath: string, path: string, replace: boolean): void {
  if (replace) {
    renameSync(partPath, path);
    return;
  }
  try {
    linkSync(partPath, path);
  } catch (error) {
    if (!["EPERM", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK"].includes(systemCode(error) ?? ""))
      throw error;
    // No hard links (FAT, exFAT, some FUSE): an empty file of our own holds the name until the image takes it over.
    closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600));
    try {
      renameSync(partPath, path);
    } catch (failed) {
      removeIfThere(path);
      throw failed;
    }
    return;
  }
  unlinkSync(partPath);
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some file systems (FUSE, CIFS) can't sync a directory: then the name is as safe as they make it.
    if (!["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes(systemCode(error) ?? "")) throw error;
  } finally {
    closeSync(fd);
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw outputError(error, path);
  }
}

function existsError(path: string): AssembleError {
  return new AssembleError(
    "exists",
    `output exists already, ${printable(path)}`,
    "name another file with -o, or replace this one with --force",
  );
}

function outputError(error: unknown, path: string, size?: number): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  const options = { cause: error };
  const shown = printable(path);
  if (code === "EEXIST") return existsError(path);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const hint = `make room on the file system, or write elsewhere with -o; nothing was left behind`;
    return new AssembleError("no-space", `no space left for the image (${code}), ${shown}`, hint, options);
  }
  if (code === "EFBIG") {
    const wanted = size === undefined ? "" : `, wanted ${formatBytes(size)}`;
    const hint = "every file system has a limit, FAT's is 4 GiB: write to another one with -o";
    return new AssembleError(
      "too-large",
      `file system can't hold a file that large${wanted}, ${shown}`,
      hint,
      options,
    );
  }
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new AssembleError(
      "bad-output",
      `directory of the output does not exist, ${shown}`,
      undefined,
      options,
    );
  }
  return new AssembleError("io", `image can't be written: ${code}, ${shown}`, undefined, options);
}
