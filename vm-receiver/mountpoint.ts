// The place that the other side calls the mountpoint. It must be one: a drive that is not plugged in must not turn into
// a directory on the system's own disk, neither at the beginning nor in mid-send (design section 6).

import { closeSync, constants, fstatSync, openSync, readlinkSync } from "node:fs";
import { type Directory, openAbsolute } from "./directory.ts";
import { RefusalError, systemCode } from "./errors.ts";
import { type Mount, mountIdOf, mountTable } from "./mount-table.ts";
import { shown } from "./sanitize.ts";
import { type Space, spaceOf } from "./space.ts";

export interface Mountpoint extends Disposable {
  readonly directory: Directory;
  /** Throws RefusalError `not-mounted` when what can be reached at the path is no longer what was opened. */
  check(): void;
  /** Throws RefusalError `read-only` when nothing can be written there. */
  checkWritable(): void;
  space(): Space;
}

/** Opens without reading: enough to ask what it is. Node does not name this flag; it has one value on all of Linux. */
const oPath = 0o10000000;

/**
 * Opens the mountpoint. `plain` allows a directory on which nothing is mounted, which is the settings' to decide.
 * Throws RefusalError `not-mounted`.
 */
export function openMountpoint(path: string, plain: boolean): Mountpoint {
  const directory = open(path);
  try {
    checkRealPath(directory, path);
    const id = mountIdOf(directory.fd);
    if (!plain && !isMountedAt(id, path)) {
      throw new RefusalError(
        "not-mounted",
        `nothing is mounted at ${shown(path)}: it is a directory of the file system above`,
      );
    }
    return mountpointOf(path, directory, id);
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
}

function mountpointOf(path: string, directory: Directory, id: number): Mountpoint {
  const opened = fstatSync(directory.fd);
  const isStillThere = (): boolean => {
    let fd: number;
    try {
      fd = openSync(path, oPath | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    } catch {
      return false;
    }
    try {
      const now = fstatSync(fd);
      return mountIdOf(fd) === id && now.dev === opened.dev && now.ino === opened.ino;
    } finally {
      closeSync(fd);
    }
  };
  return {
    directory,
    check: () => {
      if (isStillThere()) return;
      throw new RefusalError(
        "not-mounted",
        `${shown(path)} was unmounted, or something else was mounted over it`,
      );
    },
    checkWritable: () => {
      const mount = mountOf(id);
      if (mount?.readOnly === true)
        throw new RefusalError("read-only", `${shown(path)} is mounted read-only`);
    },
    space: () => spaceOf(directory.fd),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

function open(path: string): Directory {
  try {
    return openAbsolute(path);
  } catch (error) {
    const code = systemCode(error);
    const why =
      code === "ENOENT" ? "does not exist" : `can't be opened as a directory: ${code ?? String(error)}`;
    throw new RefusalError("not-mounted", `${shown(path)} ${why}`, { cause: error });
  }
}

/** A path through a symbolic link is not the one that mountinfo and the settings speak of. */
function checkRealPath(directory: Directory, path: string): void {
  if (readlinkSync(`/proc/self/fd/${directory.fd}`) === path) return;
  throw new RefusalError(
    "not-mounted",
    `${shown(path)} leads through a symbolic link: name the real path of the mountpoint`,
  );
}

function isMountedAt(id: number, path: string): boolean {
  return mountOf(id)?.path === path;
}

function mountOf(id: number): Mount | undefined {
  return mountTable().find((mount) => mount.id === id);
}
