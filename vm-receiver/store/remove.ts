// Removing a session that no head names: only files that a session can consist of, and nothing at all when anything else
// is found among them. Goes on in small steps and tells of each, because there may be millions of files: the heartbeat
// must not stop, and must have something to say.

import { rmdirSync, unlinkSync } from "node:fs";
import { fileNames, parseChunkFile, parseGeneration } from "../../protocol/archive/names.ts";
import { type Directory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { RefusalError, unless } from "../errors.ts";
import { statOf } from "../files.ts";
import { pace } from "./pace.ts";
import type { OnRemoved } from "./store.ts";
import { pendingFile } from "./pending-record.ts";
import { spoolNames } from "./spool-names.ts";

const groupPattern = /^00[01][0-9a-f]{6}$/;
const plainFiles: ReadonlySet<string> = new Set([
  fileNames.header,
  fileNames.list,
  pendingFile,
  ...spoolNames,
]);
/** What NFS and FUSE make of a file that is removed while somebody has it open; it goes when that closes it. */
const heldOpen = /^[.](?:nfs|fuse_hidden)[0-9a-f]{8,}$/;
/** These say whose session it is, so they go last: a removal that was cut short can then be found and finished. */
const isLast = (name: string): boolean => name === pendingFile || /^list(?:[.]\d+)?$/.test(name);

/** Removes the session directory `name` with everything in it; one that is not there is fine. RefusalError `not-allowed`
 *  before anything is removed when it holds something that is not of a session. */
export async function removeTree(
  parent: Directory,
  name: string,
  onRemoved: OnRemoved = () => {},
): Promise<void> {
  using directory = openIfThere(parent, name);
  if (directory === undefined) return;
  const turn = pace();
  await checkTree(directory, onRemoved);
  /** Names are gathered first: unlinking while listing may skip some. */
  const empty = async (of: Directory, kept: (name: string) => boolean): Promise<void> => {
    for (const each of [...namesIn(of)].filter((found) => !kept(found))) {
      const bytes = storageOf(statOf(of, each));
      unless(heldOpen.test(each) ? ["EBUSY", "ENOENT"] : [], () => unlinkSync(of.at(each)));
      onRemoved(bytes);
      await turn();
    }
  };
  for (const group of await groupsOf(directory)) {
    using chunks = openDirectory(directory, group);
    await empty(chunks, () => false);
    removeEmptied(directory, group, chunks);
    await turn();
  }
  await empty(directory, isLast);
  await empty(directory, (each) => each === pendingFile);
  await empty(directory, () => false);
  removeEmptied(parent, name, directory);
}

/** Removes a directory that was emptied; one that holds what somebody has open stays as long as that. */
function removeEmptied(parent: Directory, name: string, directory: Directory): void {
  const isHeld = Array.from(namesIn(directory)).some((each) => heldOpen.test(each));
  unless(isHeld ? ["ENOTEMPTY", "EEXIST"] : [], () => rmdirSync(parent.at(name)));
}

/** Throws RefusalError `not-allowed` where a session's directory holds anything that is not of a session. */
export async function checkTree(directory: Directory, onRemoved: OnRemoved = () => {}): Promise<void> {
  const turn = pace();
  for (const name of namesIn(directory)) {
    checkEntry(directory, name);
    await turn();
  }
  for (const group of await groupsOf(directory)) {
    using chunks = openDirectory(directory, group);
    for (const name of namesIn(chunks)) {
      if (parseChunkFile(name) === undefined && !heldOpen.test(name)) throw foreign();
      onRemoved(0);
      await turn();
    }
  }
}

/** The groups of chunk files in a session's directory, in no order. */
export async function groupsOf(directory: Directory): Promise<readonly string[]> {
  const groups: string[] = [];
  const turn = pace();
  for (const name of namesIn(directory)) {
    if (groupPattern.test(name)) groups.push(name);
    await turn();
  }
  return groups;
}

function checkEntry(directory: Directory, name: string): void {
  const known = plainFiles.has(name) || isNumbered(name) || heldOpen.test(name);
  const stat = statOf(directory, name);
  if (known ? stat?.isFile() === false : !(groupPattern.test(name) && stat?.isDirectory() !== false))
    throw foreign();
}

/** True for `manifest.N` and `list.N`. */
function isNumbered(name: string): boolean {
  const [, number] = /^(?:manifest|list)[.](\d+)$/.exec(name) ?? [];
  return number !== undefined && parseGeneration(number) !== undefined;
}

/** Bytes that a file takes on the disk. */
export function storageOf(stat: { readonly blocks: number } | undefined): number {
  return (stat?.blocks ?? 0) * 512;
}

function foreign(): RefusalError {
  return new RefusalError(
    "not-allowed",
    "the session's directory holds something that is not of a session: look at it by hand",
  );
}
