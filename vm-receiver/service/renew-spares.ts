// What nothing needs as long as all goes well, and what is missed when it does not: the copies of `archive`, and README.txt.
// A prune, and with it a repair, puts back those that are lost or rotten. No head names them; what a head names is never
// replaced.

import { archiveFile } from "../../protocol/archive/names.ts";
import { openIfThere } from "../directory.ts";
import { unless } from "../errors.ts";
import { stateOfHeader } from "../scrub/header-file.ts";
import type { Archive } from "../store/archive.ts";
import { writeReadme } from "../store/readme.ts";
import { putCopy } from "./volume-directory.ts";

const full = ["ENOSPC", "EDQUOT"];

/** Puts them back, as far as there is room. Only under the archive's lock, and where `archive` is the one that counts. */
export function renewSpares(archive: Archive): void {
  const head = archive.current?.head;
  const bytes = archive.header()?.bytes;
  if (head === undefined || bytes === undefined) return;
  const name = archiveFile(head.archiveGeneration);
  if (stateOfHeader(archive.root, name, head.archive, head.archiveDigest) !== "whole") return;
  for (const { directory } of head.volumes) {
    using volume = openIfThere(archive.root, directory);
    if (volume === undefined || stateOfHeader(volume, name, head.archive, head.archiveDigest) === "whole")
      continue;
    unless(full, () => putCopy(volume, name, bytes));
  }
  unless(full, () => writeReadme(archive.root));
}
