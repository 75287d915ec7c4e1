// Removing a session that no head names: only files that a session can consist of, and nothing at all when anything else
// is found among them. Goes on in small steps, because there may be millions of files and the heartbeat must not stop.

import { rmdirSync, unlinkSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fileNames, parseChunkFile, parseGeneration } from "../../protocol/archive/names.ts";
import { type Directory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { statOf } from "../files.ts";
import { pendingFile } from "./pending-record.ts";
import { spoolNames } from "./spool-names.ts";

const stepFiles = 512;
const groupPattern = /^00[01][0-9a-f]{6}$/;
const plainFiles: ReadonlySet<string> = new Set([
  fileNames.header,
  fileNames.list,
  pendingFile,
  ...spoolNames,
]);
/** These say whose session it is, so they go last: a removal that was cut short can then be found and finished. */
const isLast = (name: string): boolean => name === pendingFile || /^list(?:[.]\d+)?$/.test(name);

/** Removes the session directory `name` with everything in it; one that is not there is fine. `onFile` hears of each file's bytes. RefusalError `not-allowed`
 *  before anything is removed when it holds something that is not of a session. */
export async function removeTree(
  parent: Directory,
  name: string,
  onFile: (bytes: number) => void = () => {},
): Promise<void> {
  using directory = openIfThere(parent, name);
  if (directory === undefined) return;
  await checkTree(directory);
  for (const group of await groupsOf(directory)) {
    using chunks = openDirectory(directory, group);
    await emptyDirectory(chunks, () => false, onFile);
    rmdirSync(directory.at(group));
  }
  await emptyDirectory(directory, isLast, onFile);
  await emptyDirectory(directory, (each) => each === pendingFile, onFile);
  await emptyDirectory(directory, () => false, onFile);
  rmdirSync(parent.at(name));
}

/** Throws RefusalError `not-allowed` where a session's directory holds anything that is not of a session. */
export async function checkTree(directory: Directory): Promise<void> {
  await forEachName(directory, (each) => checkEntry(directory, each));
  for (const group of await groupsOf(directory)) await checkGroup(directory, group);
}

/** The groups of chunk files in a session's directory, in no order. */
export async function groupsOf(directory: Directory): Promise<readonly string[]> {
  const groups: string[] = [];
  await forEachName(directory, (each) => {
    if (groupPattern.test(each)) groups.push(each);
  });
  return groups;
}

function checkEntry(directory: Directory, name: string): void {
  const known = plainFiles.has(name) || isNumbered(name);
  const stat = statOf(directory, name);
  if (known ? stat?.isFile() === false : !(groupPattern.test(name) && stat?.isDirectory() !== false))
    throw foreign();
}

async function checkGroup(directory: Directory, group: string): Promise<void> {
  using chunks = openDirectory(directory, group);
  await forEachName(chunks, (each) => {
    if (parseChunkFile(each) === undefined) throw foreign();
  });
}

/** True for `manifest.N` and `list.N`. */
function isNumbered(name: string): boolean {
  const [, number] = /^(?:manifest|list)[.](\d+)$/.exec(name) ?? [];
  return number !== undefined && parseGeneration(number) !== undefined;
}

/** Unlinks the files of a directory, `kept` ones apart. Names are gathered first: unlinking while listing may skip some. */
async function emptyDirectory(
  directory: Directory,
  kept: (name: string) => boolean,
  onFile: (bytes: number) => void,
): Promise<void> {
  const names = [...namesIn(directory)].filter((name) => !kept(name));
  for (const [i, name] of names.entries()) {
    onFile(storageOf(statOf(directory, name)));
    unlinkSync(directory.at(name));
    if (i % stepFiles === stepFiles - 1) await nextTurn();
  }
}

/** Bytes that a file takes on the disk. */
export function storageOf(stat: { readonly blocks: number } | undefined): number {
  return (stat?.blocks ?? 0) * 512;
}

async function forEachName(directory: Directory, visit: (name: string) => void): Promise<void> {
  let count = 0;
  for (const name of namesIn(directory)) {
    visit(name);
    if (++count % stepFiles === 0) await nextTurn();
  }
}

function foreign(): RefusalError {
  return new RefusalError(
    "not-allowed",
    "the session's directory holds something that is not of a session: look at it by hand",
  );
}
