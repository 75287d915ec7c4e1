// Second copies of the few small files that everything else hangs on: the newest head, and the index of every volume that it
// names (archive-format.md, F38). They lie below `copies/`, each under the path that the file itself has, and are made
// behind a commit: what is there was committed. They are read where the file itself is damaged or gone.

import { closeSync, fsyncSync, renameSync, rmdirSync } from "node:fs";
import type { Head } from "../../protocol/archive/head.ts";
import { fileNames, indexFile, isDirectoryName, parseGeneration } from "../../protocol/archive/names.ts";
import { isFileOf } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import {
  type Directory,
  ensureDirectory,
  namesIn,
  openDirectory,
  openIfDirectory,
  openIfThere,
} from "../directory.ts";
import { ifPossible, isDamage, unless, unlessDamaged } from "../errors.ts";
import { createFile, readWhole, removeFile, statOf, writeAll } from "../files.ts";
import { maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { temporaries } from "./temporaries.ts";

/** Calls `use` with the directory that holds the copies of what lies in `directory`; undefined where there is none, and
 *  where something else stands in its place or it can't be read. */
export function inCopies<T>(
  root: Directory,
  directory: string,
  use: (copies: Directory) => T | undefined,
): T | undefined {
  using copies = openIfDirectory(root, fileNames.copies);
  using found = copies && openIfDirectory(copies, directory);
  return found && use(found);
}

/** Generations of the heads of which there are copies; none where that can't be told. */
export function copiedHeads(root: Directory): readonly Generation[] {
  return (
    inCopies(root, fileNames.heads, (heads) =>
      unlessDamaged(() => [...namesIn(heads)].flatMap((name) => parseGeneration(name) ?? [])),
    ) ?? []
  );
}

/** What `read` makes of the file in `own`; where that is damaged, can't be read or is not there, of its copy. Throws what
 *  the file itself has given where the copy is no better. */
export function orCopy<T>(
  root: Directory,
  directory: string,
  read: (place: Directory) => T | undefined,
): T | undefined {
  const copy = (): T | undefined => inCopies(root, directory, (place) => unlessDamaged(() => read(place)));
  try {
    using own = openIfThere(root, directory);
    return (own && read(own)) ?? copy();
  } catch (error) {
    if (!isDamage(error)) throw error;
    const found = copy();
    if (found === undefined) throw error;
    return found;
  }
}

interface Wanted {
  readonly directory: string;
  readonly file: string;
  readonly digest: Digest;
  readonly max: number;
}

/** Makes the copies of a committed state that are not there, and removes those of what it no longer names. With `before`,
 *  the state that was before this one, only what has changed is looked at. Only under the archive's lock. What the file
 *  system can't hold, read or write goes without: nothing fails for want of a second copy. */
export function keepCopies(
  root: Directory,
  { head, digest }: { readonly head: Head; readonly digest: Digest },
  before?: Head,
): void {
  const known = new Map(before?.volumes.map((each) => [toHex(each.volume), each.indexGeneration]));
  const wanted: Wanted[] = [
    { directory: fileNames.heads, file: String(head.generation), digest, max: maxHeadBytes },
    ...head.volumes
      .filter((each) => known.get(toHex(each.volume)) !== each.indexGeneration)
      .map(({ directory, indexGeneration, indexDigest }) => ({
        directory,
        file: indexFile(indexGeneration),
        digest: indexDigest,
        max: maxIndexBytes,
      })),
  ];
  ifPossible(() => {
    using copies = ensureDirectory(root, fileNames.copies);
    for (const each of wanted) ifPossible(() => keepCopy(root, copies, each));
    if (before === undefined) dropOthers(copies, new Set(wanted.map((each) => each.directory)));
  });
}

const { copy: temporary } = temporaries;

function keepCopy(root: Directory, copies: Directory, { directory, file, digest, max }: Wanted): void {
  using place = ensureDirectory(copies, directory);
  removeFile(place, temporary);
  const there = unlessDamaged(() => readWhole(place, file, max));
  if (there === undefined || !isFileOf(there, digest)) {
    using own = openIfThere(root, directory);
    const bytes = own && unlessDamaged(() => readWhole(own, file, max));
    // Of what is damaged itself an older copy may be all that is left.
    if (bytes === undefined || !isFileOf(bytes, digest)) return;
    const fd = createFile(place, temporary);
    try {
      writeAll(fd, bytes);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(place.at(temporary), place.at(file));
  }
  for (const name of Array.from(namesIn(place))) if (name !== file && isCopy(name)) removeFile(place, name);
}

/** Copies of volumes that are gone. */
function dropOthers(copies: Directory, wanted: ReadonlySet<string>): void {
  for (const name of Array.from(namesIn(copies)).filter((each) => isDirectoryName(each))) {
    if (wanted.has(name) || statOf(copies, name)?.isDirectory() !== true) continue;
    {
      using place = openDirectory(copies, name);
      for (const each of Array.from(namesIn(place)))
        if (isCopy(each) || each === temporary) removeFile(place, each);
    }
    unless(["ENOTEMPTY", "EEXIST"], () => rmdirSync(copies.at(name)));
  }
}

function isCopy(name: string): boolean {
  return parseGeneration(name.startsWith("index.") ? name.slice("index.".length) : name) !== undefined;
}
