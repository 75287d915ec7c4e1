// Temporary files without a name: whatever ends us, nothing is left of them.

import { constants, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { createFile } from "./writing.ts";

/** Linux: makes a file in a directory without giving it a name. Node has no word for it. */
const tmpFile = 0o20_000_000 | constants.O_DIRECTORY;

/** What file systems say that have no such files: overlayfs, FAT, NFS, old kernels. */
const unable: ReadonlySet<string> = new Set(["ENOTSUP", "EOPNOTSUPP", "EISDIR", "EINVAL"]);

/** A new file for us alone, open for reading and writing, in the directory of `path`. On file systems that make none
 *  without a name it is called `path` for an instant. */
export function openNameless(path: string): number {
  try {
    return openSync(dirname(path), tmpFile | constants.O_RDWR, 0o600);
  } catch (error) {
    if (!unable.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  const fd = createFile(path);
  unlinkSync(path);
  return fd;
}
