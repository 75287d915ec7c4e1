// An archive whose creation was cut short before its first commit: there is a header, there may be sessions, and no head
// ever named any of them. The next creation clears that away; a directory that is not of an archive is never touched.

import { rmdirSync } from "node:fs";
import { fileNames, isDirectoryName, parseGeneration } from "../../protocol/archive/names.ts";
import type { ArchiveUuid } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { InternalError } from "../../protocol/errors.ts";
import { type Directory, namesIn, openDirectory } from "../directory.ts";
import { unless } from "../errors.ts";
import { removeFile, statOf } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { leftoversIn, removeLeftover } from "../store/leftovers.ts";
import { temporaries } from "../store/temporaries.ts";
import { headerIn } from "./volume-directory.ts";

/** Removes the header of an uncommitted archive, and the volumes of it unless it is the archive `uuid` itself. */
export async function dropUncommitted(archive: Archive, uuid: ArchiveUuid): Promise<void> {
  if (archive.current !== undefined) throw new InternalError("a committed archive is never dropped");
  const names = [...namesIn(archive.root)].filter((name) => isDirectoryName(name));
  for (const name of names) {
    if (statOf(archive.root, name)?.isDirectory() !== true) continue;
    using volume = unless(["EACCES", "EPERM"], () => openDirectory(archive.root, name));
    const of = volume && headerIn(volume);
    if (volume === undefined || of === undefined || equalBytes(of, uuid)) continue;
    await emptyVolume(archive, volume, name);
    // What is left in it, if anything, is not ours, and then neither is the directory.
    unless(["ENOTEMPTY", "EEXIST"], () => rmdirSync(archive.root.at(name)));
  }
  removeFile(archive.root, fileNames.archive);
}

async function emptyVolume(archive: Archive, volume: Directory, name: string): Promise<void> {
  // Gathered first: removing while listing may skip some.
  const leftovers = Array.from(leftoversIn(archive, volume, name));
  for (const each of leftovers) await removeLeftover(volume, each);
  const files = Array.from(namesIn(volume));
  for (const file of files) {
    const isIndex = file.startsWith("index.") && parseGeneration(file.slice("index.".length)) !== undefined;
    if (
      isIndex ||
      file === fileNames.archive ||
      (Object.values(temporaries) as readonly string[]).includes(file)
    )
      removeFile(volume, file);
  }
}
