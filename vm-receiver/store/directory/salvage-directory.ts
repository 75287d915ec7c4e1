// Making a container of the chunk files that an interrupted session has left.

import { rmdirSync } from "node:fs";
import { chunkPath, fileNames, parseChunkFile, parseGeneration } from "../../../protocol/archive/names.ts";
import { type ChunkAddress, maxStoredLength } from "../../../protocol/archive/types.ts";
import {
  type Directory,
  namesIn,
  openDirectory,
  openIfThere,
  reopen,
  syncDirectory,
} from "../../directory.ts";
import { unless, unlessDamaged } from "../../errors.ts";
import { removeFile } from "../../files.ts";
import { dropRecord, syncOrForsake } from "../part.ts";
import { renameNew } from "../publish.ts";
import { checkTree, groupsOf } from "../remove.ts";
import { salvageList } from "../salvage-list.ts";
import type { Salvageable } from "../store.ts";
import type { StoredChunks } from "../stored-chunks.ts";
import { chunkFiles } from "./chunk-files.ts";
import { syncSession } from "./sync-session.ts";

/**
 * Turns the part into a container (Store.salvage). Can be cut short anywhere and done again: until the list is whole
 * the record, or the old list, says whose it is, and until the last rename no name that a head could name is taken.
 */
export async function salvageDirectory(
  volume: Directory,
  partName: string,
  leftover: Salvageable,
): Promise<number> {
  using part = openIfThere(volume, partName);
  if (part === undefined) return 0;
  await checkTree(part);
  using list = salvageList(part, leftover);
  {
    using chunks = chunkFiles(reopen(part));
    const into = new Uint8Array(maxStoredLength(leftover.chunkSize));
    for (const group of (await groupsOf(part)).toSorted()) {
      for (const address of addressesIn(part, group)) {
        const stored = readOrNothing(chunks, address, into);
        if (stored === undefined || !(await list.add(address, stored))) dropChunk(part, address);
      }
      unless(["ENOTEMPTY", "EEXIST"], () => rmdirSync(part.at(group)));
    }
  }
  if (list.chunks === 0) return 0;
  await syncOrForsake(part, async () => list.replace());
  // What said what the chunks meant was never committed, so it means nothing.
  const meta = Array.from(namesIn(part)).filter((name) => name === fileNames.header || isManifest(name));
  for (const name of meta) removeFile(part, name);
  dropRecord(part);
  await syncOrForsake(part, async () => syncSession(part, list.chunks));
  renameNew(volume, partName, volume, leftover.name);
  syncDirectory(volume);
  return list.chunks;
}

/** Addresses of the chunk files in a group, rising: at most 4096. */
function addressesIn(part: Directory, group: string): readonly ChunkAddress[] {
  using directory = openDirectory(part, group);
  return [...namesIn(directory)]
    .flatMap((name) => parseChunkFile(name) ?? [])
    .filter((address) => chunkPath(address).group === group)
    .sort((a, b) => a - b);
}

/** A chunk of a length that it may have; undefined for any other, and for what is no file. */
function readOrNothing(
  chunks: StoredChunks,
  address: ChunkAddress,
  into: Uint8Array,
): Uint8Array | undefined {
  const length = unlessDamaged(() => chunks.read(address, into));
  return length === undefined || length < 1 || length > into.length ? undefined : into.subarray(0, length);
}

function dropChunk(part: Directory, address: ChunkAddress): void {
  const { group, file } = chunkPath(address);
  using directory = openDirectory(part, group);
  removeFile(directory, file);
}

function isManifest(name: string): boolean {
  return name.startsWith("manifest.") && parseGeneration(name.slice("manifest.".length)) !== undefined;
}
