// `receive --save-to PATH`: a file that appears whole or not at all, or a block device that is written over.

import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  unlinkSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { AgentError } from "../errors.ts";
import { syncDirectory } from "../state/atomic-file.ts";
import { deviceAttribute } from "../storage/device-attribute.ts";
import { userOf } from "../storage/file/file-users.ts";
import type { RestoreTarget } from "../storage/restore-target.ts";

export interface SaveRequest {
  readonly path: string;
  /** Bytes of the volume, and those of it that are no holes. */
  readonly size: number;
  readonly dataBytes: number;
  /** Replace a file that is there. */
  readonly force: boolean;
  /** Write into the file that is there, only what differs. */
  readonly update: boolean;
}

/** Throws AgentError where `path` can't be restored to. Asked before anything is fetched. */
export function checkSavePath({ path, force, update }: Pick<SaveRequest, "path" | "force" | "update">): void {
  const stat = statOf(path);
  if (stat === undefined) {
    if (update) throw failed(path, "there is nothing whose differences could be written");
    if (
      statOf(dirname(path))?.isDirectory() !== true &&
      lstatSync(dirname(path), { throwIfNoEntry: false })?.isSymbolicLink() !== true
    )
      throw failed(path, "its directory does not exist");
    return;
  }
  if (stat.isBlockDevice()) return;
  if (stat.isDirectory()) throw failed(path, "found a directory, wanted a file or a block device");
  if (!stat.isFile()) throw failed(path, "found neither a regular file nor a block device");
  if (!force) throw failed(path, "it exists already", "name another file, or replace it with --force");
  const user = userOf(path);
  if (user !== undefined) throw failed(path, `it is in use: ${user}`, "end that first, or name another file");
}

/** Opens or makes what the volume is restored into. */
export function openSaveTarget(request: SaveRequest): RestoreTarget {
  checkSavePath(request);
  const stat = statOf(request.path);
  if (stat?.isBlockDevice() === true) return deviceTarget(request);
  return request.update ? existingFile(request) : newFile(request, stat);
}

/** A link to a device is followed, as /dev is full of them; one to anything else is not. */
function statOf(path: string): Stats | undefined {
  const own = lstatSync(path, { throwIfNoEntry: false });
  if (own?.isSymbolicLink() !== true) return own;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return own;
  }
  try {
    const target = fstatSync(fd);
    return target.isBlockDevice() ? target : own;
  } finally {
    closeSync(fd);
  }
}

function deviceTarget({ path, size }: SaveRequest): RestoreTarget {
  let fd: number;
  try {
    // O_EXCL on a block device: fails while it is mounted, or held by another device.
    fd = openSync(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw failed(path, code === "EBUSY" ? "the device is in use" : message);
  }
  const found = Number(deviceAttribute(fstatSync(fd).rdev, "size")) * 512;
  if (found < size) {
    closeSync(fd);
    throw failed(path, `found ${found} bytes, wanted ${size} or more`);
  }
  const larger = `${path}: the device is ${found - size} bytes larger than the volume; they were left as they are`;
  return openTarget(path, fd, { size: found, blank: false }, () => (found > size ? [larger] : []));
}

function existingFile({ path, size }: SaveRequest): RestoreTarget {
  const fd = opened(path, path, constants.O_RDWR);
  try {
    ftruncateSync(fd, size);
  } catch (error) {
    closeSync(fd);
    throw failed(path, (error as Error).message);
  }
  return openTarget(path, fd, { size, blank: false }, () => []);
}

function openTarget(
  name: string,
  fd: number,
  of: Pick<RestoreTarget, "size" | "blank">,
  notices: () => readonly string[],
): RestoreTarget {
  let open = true;
  return {
    fd,
    ...of,
    name,
    publish: async () => {
      fsyncSync(fd);
      return notices();
    },
    [Symbol.asyncDispose]: async () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** `old`: what it takes the place of, and whose owner and mode it gets. */
function newFile({ path, size, dataBytes, force }: SaveRequest, old: Stats | undefined): RestoreTarget {
  const directory = dirname(path);
  const { bavail, bsize } = statfsSync(directory);
  if (dataBytes > bavail * bsize)
    throw failed(path, `it needs ${dataBytes} bytes, and ${bavail * bsize} are free`, "nothing was made");
  const temporary = join(directory, `.${basename(path).slice(0, 200)}-${randomBytes(4).toString("hex")}-tmp`);
  const fd = opened(path, temporary, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
  let state: "open" | "published" | "gone" = "open";
  const target: RestoreTarget = {
    fd,
    size,
    blank: true,
    name: path,
    publish: async () => {
      try {
        fsyncSync(fd);
        giveName(temporary, path, force);
        state = "published";
        syncDirectory(directory);
      } catch (error) {
        throw error instanceof AgentError ? error : failed(path, (error as Error).message);
      }
      return [];
    },
    [Symbol.asyncDispose]: async () => {
      if (state === "gone") return;
      if (state === "open") rmSync(temporary, { force: true });
      state = "gone";
      closeSync(fd);
    },
  };
  try {
    // Before anything is fetched: not everybody may give a file away.
    if (old !== undefined) {
      fchownSync(fd, old.uid, old.gid);
      fchmodSync(fd, old.mode & 0o7777);
    }
    ftruncateSync(fd, size);
  } catch (error) {
    closeSync(fd);
    rmSync(temporary, { force: true });
    throw failed(path, `make a file of ${size} bytes: ${(error as Error).message}`);
  }
  return target;
}

/** Gives the finished file its name; without `force` never in the place of another one. */
function giveName(temporary: string, path: string, force: boolean): void {
  if (force) {
    renameSync(temporary, path);
    return;
  }
  try {
    linkSync(temporary, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw failed(path, "it came into being meanwhile, and nothing is replaced");
    if (!["EPERM", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK"].includes(code ?? "")) throw error;
    // No hard links (FAT, exFAT, some FUSE): an empty file of our own holds the name until the image takes it over.
    closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600));
    try {
      renameSync(temporary, path);
    } catch (why) {
      rmSync(path, { force: true });
      throw why;
    }
    return;
  }
  unlinkSync(temporary);
}

function opened(path: string, real: string, flags: number): number {
  try {
    return openSync(real, flags | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw failed(path, (error as Error).message);
  }
}

function failed(path: string, why: string, hint?: string): AgentError {
  return new AgentError("failed", `save to ${path}: ${why}`, hint);
}
