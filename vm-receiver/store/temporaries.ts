// Names under which files lie before they have their own. A run that was killed may leave them behind; the next one that
// holds the archive's lock sweeps them up, and knows them by these names and no others.

import { fileNames, isDirectoryName } from "../../protocol/archive/names.ts";
import { type Directory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { unless } from "../errors.ts";
import { removeFile, statOf } from "../files.ts";
import { removeTree } from "./remove.ts";

export const temporaries = {
  archive: ".tmp-archive",
  index: ".tmp-index",
  head: ".tmp-head",
  readme: ".tmp-readme",
  probe: ".tmp-probe",
  probeLink: ".tmp-probe-link",
} as const;

/** The directory of a session that is about to get its record and name. */
export const unbornPart = ".tmp-part";

/** Removes what earlier runs left of files that never got their names. Only under the archive's lock. */
export async function sweepTemporaries(root: Directory): Promise<void> {
  sweep(root);
  {
    using heads = openIfThere(root, fileNames.heads);
    if (heads !== undefined) sweep(heads);
  }
  const names = Array.from(namesIn(root)).filter((name) => isDirectoryName(name));
  for (const name of names) {
    if (statOf(root, name)?.isDirectory() !== true) continue;
    using volume = unless(["EACCES", "EPERM"], () => openDirectory(root, name));
    if (volume !== undefined && statOf(volume, fileNames.archive) !== undefined) await sweepVolume(volume);
  }
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
