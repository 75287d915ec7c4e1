// Giving a finished thing its final name without ever replacing anything: a hard link, which fails when the name is
// taken; where there are no hard links (FAT, exFAT, many FUSE file systems) a rename, after a look at the name. Between
// the look and the rename only another receiver could come, and the archive's lock keeps that out; unlike creating
// the final name and copying into it, a rename leaves no half-written file after a crash (docs/decisions/0009).

import { linkSync, renameSync } from "node:fs";
import { type Directory, syncDirectory } from "../directory.ts";
import { RefusalError, systemCode } from "../errors.ts";
import { removeFile, statOf } from "../files.ts";

// EACCES: sshfs, where the other side has no links. Where it says what it means the rename says so again.
const noLinks = new Set(["EACCES", "EPERM", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK", "EXDEV", "EINVAL"]);

/** Moves the file `temporary` of `from` to `name` in `to`, and syncs both directories. `onNamed` is called once it has its
 *  name, also where what follows fails. RefusalError `exists`. */
export function publishFile(
  from: Directory,
  temporary: string,
  to: Directory,
  name: string,
  onNamed: () => void = () => {},
): void {
  const linked = linkNew(from, temporary, to, name);
  if (!linked) renameNew(from, temporary, to, name);
  onNamed();
  if (linked) removeFile(from, temporary);
  syncDirectory(to);
  if (from !== to) syncDirectory(from);
}

/** Gives a file a second name that nothing has; false where there are no hard links. RefusalError `exists`. */
function linkNew(from: Directory, temporary: string, to: Directory, name: string): boolean {
  try {
    linkSync(from.at(temporary), to.at(name));
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === "EEXIST") throw taken();
    if (code === undefined || !noLinks.has(code)) throw error;
    return false;
  }
}

/** Renames a directory, or a file where there are no links, to a name that nothing has. RefusalError `exists`. */
export function renameNew(from: Directory, temporary: string, to: Directory, name: string): void {
  if (statOf(to, name) !== undefined) throw taken();
  renameSync(from.at(temporary), to.at(name));
}

function taken(): RefusalError {
  return new RefusalError("exists", "something of that name is there already, and nothing is ever replaced");
}
