// Directories held open, and everything below them reached one component at a time through /proc/self/fd, so that no
// symbolic link and no unmount can lead a byte elsewhere (design section 6).

import { closeSync, constants, fsyncSync, mkdirSync, opendirSync, openSync } from "node:fs";
import { InternalError } from "../protocol/errors.ts";
import { isDamage, RefusalError, systemCode, unless } from "./errors.ts";

export interface Directory extends Disposable {
  readonly fd: number;
  /** A path that is `name` in this directory, whatever the directory is called by now. `name` is one component. */
  at(name: string): string;
}

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Wraps a descriptor of a directory, which it then owns. */
export function directoryOf(fd: number): Directory {
  let open = true;
  return {
    fd,
    at: (name) => {
      if (!open) throw new InternalError("a directory is used after it was closed");
      if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
        throw new InternalError("a name below a directory must be one component");
      }
      return `/proc/self/fd/${fd}/${name}`;
    },
    [Symbol.dispose]: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** Opens the directory of an absolute path; its last component may not be a link. */
export function openAbsolute(path: string): Directory {
  return directoryOf(openSync(path, directoryFlags));
}

/** Opens `name` below `parent`. ENOENT where it is not there; RefusalError `not-allowed` for what is no directory. */
export function openDirectory(parent: Directory, name: string): Directory {
  try {
    return directoryOf(openSync(parent.at(name), directoryFlags));
  } catch (error) {
    const code = systemCode(error);
    if (code === "ELOOP" || code === "ENOTDIR") {
      throw new RefusalError(
        "not-allowed",
        "something that is not a directory stands in its place: a symbolic link or a file",
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

/** Like openDirectory; undefined where it is not there. */
export function openIfThere(parent: Directory, name: string): Directory | undefined {
  return unless(["ENOENT"], () => openDirectory(parent, name));
}

/** The same; undefined also for what is no directory, and for one that is damaged. */
export function openIfDirectory(parent: Directory, name: string): Directory | undefined {
  try {
    return openIfThere(parent, name);
  } catch (error) {
    if (error instanceof RefusalError || isDamage(error)) return undefined;
    throw error;
  }
}

/** Makes `name` below `parent`, for us alone, where it is not there, and opens it. */
export function ensureDirectory(parent: Directory, name: string): Directory {
  const there = openIfThere(parent, name);
  if (there !== undefined) return there;
  unless(["EEXIST"], () => mkdirSync(parent.at(name), 0o700));
  syncDirectory(parent);
  return openDirectory(parent, name);
}

/** The same directory, opened once more, to be closed apart. */
export function reopen(directory: Directory): Directory {
  return directoryOf(openSync(`/proc/self/fd/${directory.fd}/.`, directoryFlags));
}

/**
 * Opens a relative path below `from`, component by component; with `make`, makes what is missing, otherwise undefined.
 * `check` sees every directory on the way, the first and the last as well, before anything is made in it.
 */
export function openBelow(
  from: Directory,
  path: string,
  make: boolean,
  check: (directory: Directory) => void = () => {},
): Directory | undefined {
  let current = reopen(from);
  try {
    check(current);
    for (const component of path === "" ? [] : path.split("/")) {
      using parent = current;
      const next = make ? ensureDirectory(parent, component) : openIfThere(parent, component);
      if (next === undefined) return undefined;
      current = next;
      check(current);
    }
    return current;
  } catch (error) {
    current[Symbol.dispose]();
    throw error;
  }
}

/** The names in a directory, one at a time, in no order. */
export function* namesIn(directory: Directory): Generator<string, void, void> {
  const listing = opendirSync(`/proc/self/fd/${directory.fd}`);
  try {
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) yield entry.name;
  } finally {
    listing.closeSync();
  }
}

/** Makes what happened to names in a directory last. Some file systems have nothing to do there and say EINVAL. */
export function syncDirectory(directory: Directory): void {
  unless(["EINVAL", "ENOTSUP", "ENOSYS"], () => fsyncSync(directory.fd));
}
