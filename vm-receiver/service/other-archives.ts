// Archives don't lie inside of one another. A hello may name any directory below the mountpoint, so also the one around an
// archive, or one of its volumes: what is made there would lie among that archive's files, and what is cleared away there
// would be its own.

import { fileNames, parseGeneration } from "../../protocol/archive/names.ts";
import type { ArchiveUuid } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Directory, namesIn, openBelow, openDirectory } from "../directory.ts";
import { RefusalError, unless } from "../errors.ts";
import { statOf } from "../files.ts";
import { copiedHeads } from "../store/copies.ts";
import { sessionEntry } from "../store/stores.ts";
import { headerIn } from "./volume-directory.ts";

/** What, beside a header, tells an archive's own directory from those of its volumes, which hold a copy. */
const tops = [
  fileNames.heads,
  fileNames.dead,
  fileNames.lock,
  fileNames.readme,
  fileNames.trash,
  fileNames.copies,
  fileNames.assembled,
];

/** True where an archive lies in a directory, committed or not. */
function holdsArchive(directory: Directory): boolean {
  if (holdsNumbers(directory, fileNames.heads)) return true;
  if (!tops.some((name) => statOf(directory, name) !== undefined)) return false;
  return unless(["EACCES", "EPERM"], () => headerIn(directory)) !== undefined;
}

function holdsNumbers(directory: Directory, name: string): boolean {
  using numbers = directoryIn(directory, name);
  return numbers !== undefined && [...namesIn(numbers)].some((each) => parseGeneration(each) !== undefined);
}

/** A directory in another; undefined for anything else, and for what we may not look at. */
function directoryIn(parent: Directory, name: string): Directory | undefined {
  return unless(["EACCES", "EPERM", "ENOENT"], () =>
    statOf(parent, name)?.isDirectory() === true ? openDirectory(parent, name) : undefined,
  );
}

/** Throws RefusalError `exists` where `path`, below the mountpoint, is no archive yet and lies inside of another one; for
 *  a service that locks what it opens, and sweeps it, also where another one lies in a directory in it. `not-allowed` for
 *  an archive's own second copies, which look like one. Makes nothing. */
export function checkApart(mountpoint: Directory, path: string, locks: boolean): void {
  const holds: boolean[] = [];
  using root = openBelow(mountpoint, path, false, (each) => holds.push(holdsArchive(each)));
  const isCopies = path.split("/").at(-1)?.toLowerCase() === fileNames.copies;
  if (root !== undefined && isCopies && holds.at(-2) === true)
    throw new RefusalError(
      "not-allowed",
      "the directory holds an archive's second copies: name the archive's",
    );
  if (root !== undefined) {
    if (holdsNumbers(root, fileNames.heads) || copiedHeads(root).length > 0) return;
    holds.pop();
  }
  if (holds.includes(true))
    throw new RefusalError("exists", "the directory lies inside of another archive: name one outside of it");
  for (const name of root !== undefined && locks ? [...namesIn(root)] : []) {
    using inner = root && directoryIn(root, name);
    if (inner !== undefined && holdsArchive(inner))
      throw new RefusalError("exists", "another archive lies inside of the directory: name one beside it");
  }
}

/** Throws RefusalError `exists` where a directory without any head holds what is of an archive, or of a volume of one:
 *  then no archive `uuid` begins there. What a creation that was cut short has left is no more than its header, and
 *  volumes that carry the same. */
export function checkNoneThere(root: Directory, uuid: ArchiveUuid): void {
  const holds = (name: string): boolean => {
    if (sessionEntry(name) !== undefined) return true;
    if (name.startsWith("index.")) return parseGeneration(name.slice("index.".length)) !== undefined;
    using inner = directoryIn(root, name);
    const of = inner && unless(["EACCES", "EPERM"], () => headerIn(inner));
    return of !== undefined && !equalBytes(of, uuid);
  };
  if (
    !holdsNumbers(root, fileNames.dead) &&
    copiedHeads(root).length === 0 &&
    ![...namesIn(root)].some(holds)
  )
    return;
  throw new RefusalError(
    "exists",
    "files of another archive lie there: name another directory, or move them away",
  );
}
