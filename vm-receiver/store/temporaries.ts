// Names under which files lie before they have their own. A run that was killed may leave them behind; the next one that
// holds the archive's lock sweeps them up, and knows them by these names and no others.

import { fileNames, isDirectoryName, parseArchiveFile } from "../../protocol/archive/names.ts";
import { type Directory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { unless } from "../errors.ts";
import { removeFile, statOf } from "../files.ts";
import { removeTree } from "./remove.ts";

export const temporaries = {
  archive: ".tmp-archive",
  index: ".tmp-index",
  head: ".tmp-head",
  readme: ".tmp-readme",
  dead: ".tmp-dead",
  manifest: ".tmp-manifest",
  list: ".tmp-list",
  trash: ".tmp-trash",
  copy: ".tmp-copy",
  probe: ".tmp-probe",
  probeLink: ".tmp-probe-link",
} as const;

/** The directory of a session that is about to get its record and name. */
export const unbornPart = ".tmp-part";

/** Removes what earlier runs left of files that never got their names. Only under the archive's lock. */
export async function sweepTemporaries(root: Directory): Promise<void> {
  sweep(root);
  for (const name of [fileNames.heads, fileNames.dead]) {
    using directory = openIfThere(root, name);
    if (directory !== undefined) sweep(directory);
  }
  const names = Array.from(namesIn(root)).filter((name) => isDirectoryName(name));
  for (const name of names) {
    if (statOf(root, name)?.isDirectory() !== true) continue;
    using volume = unless(["EACCES", "EPERM"], () => openDirectory(root, name));
    if (volume !== undefined && holdsHeader(volume)) await sweepVolume(volume);
  }
}

function holdsHeader(volume: Directory): boolean {
  return [...namesIn(volume)].some((name) => parseArchiveFile(name) !== undefined);
}

function sweep(directory: Directory): void {
  for (const name of Object.values(temporaries)) {
    if (statOf(directory, name)?.isDirectory() === false) removeFile(directory, name);
  }
}

async function sweepVolume(volume: Directory): Promise<void> {
  sweep(volume);
  if (statOf(volume, unbornPart)?.isDirectory() === true) await removeTree(volume, unbornPart);
}
