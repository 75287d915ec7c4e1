// What was put for a head that never came: a prune that was cut short before its commit. An attempt begins anew, so all
// of it goes; `dead/N`, which says that there is something, goes last.

import {
  archiveFile,
  besideTar,
  fileNames,
  indexFile,
  listFile,
  manifestFile,
} from "../../protocol/archive/names.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { openDirectory, openIfThere, syncDirectory } from "../directory.ts";
import { removeFile, statOf } from "../files.ts";
import { type Archive, knownContainers } from "../store/archive.ts";
import { deadGenerations } from "../store/dead-lists.ts";

/** Removes it. Only under the archive's lock, and right before a new attempt puts or begins anything: to an agent that
 *  only looks, and refuses a state that has lost its newest head, these files may be the last trace of that head. */
export function dropUncommittedFiles(archive: Archive): void {
  const { root, generation } = archive;
  if (generation === 0) return;
  const later = deadGenerations(root).filter((each) => each > generation);
  const next = (generation + 1) as Generation;
  for (const each of new Set([next, ...later])) {
    if (later.includes(each)) dropOfContainers(archive, each);
    for (const volume of archive.current?.head.volumes ?? []) {
      using directory = openIfThere(root, volume.directory);
      if (directory !== undefined) removeFile(directory, indexFile(each));
    }
    if (statOf(root, archiveFile(each)) !== undefined) dropHeader(archive, each);
  }
  if (later.length === 0) return;
  using dead = openDirectory(root, fileNames.dead);
  for (const each of later) removeFile(dead, String(each));
  syncDirectory(dead);
}

function dropOfContainers(archive: Archive, generation: Generation): void {
  const files = [manifestFile(generation), listFile(generation)];
  for (const volume of archive.current?.head.volumes ?? []) {
    using directory = openIfThere(archive.root, volume.directory);
    if (directory === undefined) continue;
    for (const { name, form } of knownContainers(archive, volume) ?? []) {
      if (form === "tar") {
        for (const file of files) removeFile(directory, besideTar(name, file));
      } else {
        using session = openIfThere(directory, name);
        for (const file of session === undefined ? [] : files) removeFile(session ?? directory, file);
      }
    }
  }
}

/** The header at the top goes last: it says that there are copies, in the directories of the head's volumes. */
function dropHeader({ root, current }: Archive, generation: Generation): void {
  for (const volume of current?.head.volumes ?? []) {
    using directory = openIfThere(root, volume.directory);
    if (directory !== undefined) removeFile(directory, archiveFile(generation));
  }
  removeFile(root, archiveFile(generation));
}
