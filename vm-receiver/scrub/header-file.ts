// An `archive` file, or a copy of one, against the digest that a head names.

import { decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Head } from "../../protocol/archive/head.ts";
import type { ArchiveUuid, Digest, Generation, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Directory } from "../directory.ts";
import { isDamage } from "../errors.ts";
import { readWhole } from "../files.ts";
import { type Archive, maxArchiveHeaderBytes } from "../store/archive.ts";
import type { Say } from "./found.ts";
import type { History } from "./history.ts";

/** Its state; without a digest, whether it is one of this archive at all. */
export function stateOfHeader(
  directory: Directory,
  name: string,
  archive: ArchiveUuid,
  digest: Digest | undefined,
): "whole" | "missing" | "corrupt" {
  try {
    const bytes = readWhole(directory, name, maxArchiveHeaderBytes);
    if (bytes === undefined) return "missing";
    const isOurs = equalBytes(decodeArchiveHeader(bytes).uuid, archive);
    return isOurs && (digest === undefined || equalBytes(fileDigest(bytes), digest)) ? "whole" : "corrupt";
  } catch (error) {
    if (isDamage(error)) return "corrupt";
    throw error;
  }
}

interface Known {
  readonly archive: Archive;
  readonly head: Head;
  readonly history: History;
  readonly directory: Directory;
  readonly say: Say;
  readonly ids?: readonly VolumeId[];
}

/** Says what is wrong with an `archive` file that is not the one that counts, or with a copy that no volume needs. */
export function checkOldHeader(
  { archive, head, history, directory, say, ids = [] }: Known,
  name: string,
  where: string,
  generation: Generation,
): void {
  const trash = archive.trash();
  const of = { number: generation, volume: ids[0] };
  const isDead = generation === head.archiveGeneration || trash.isDeadArchive(generation);
  if (generation > head.generation) say(where, "archive", "leftover", of);
  else if (!isDead) say(where, "archive", trash.unreadable ? "leftover" : "extra", of);
  else if (stateOfHeader(directory, name, head.archive, history.archiveDigest(generation)) === "corrupt")
    say(where, "archive", "stale", of);
}
