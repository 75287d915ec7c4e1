// The directory of a volume: what the current head says; for a new volume, what the agent chose, made here with its copy
// of `archive`, so that a directory by itself says what it belongs to.

import { closeSync, fsyncSync } from "node:fs";
import { archiveFile, parseArchiveFile } from "../../protocol/archive/names.ts";
import type { Generation, VolumeId } from "../../protocol/archive/types.ts";
import { decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Directory, ensureDirectory, namesIn, openDirectory, openIfThere } from "../directory.ts";
import { RefusalError, unlessDamaged } from "../errors.ts";
import { createFile, readWhole, removeFile, writeAll } from "../files.ts";
import { type Archive, maxArchiveHeaderBytes } from "../store/archive.ts";
import { allLeftovers } from "../store/leftovers.ts";
import { publishFile } from "../store/publish.ts";
import { temporaries } from "../store/temporaries.ts";

/** Opens, and makes where it is missing, the directory that a session of `volume` is to be written to. RefusalError
 *  `malformed` or `exists` when that is not, or can't be, this volume's. */
export function ensureVolumeDirectory(archive: Archive, volume: VolumeId, name: string): Directory {
  const known = archive.volume(volume);
  if (known !== undefined && known.directory !== name) {
    throw new RefusalError("malformed", "the volume has another directory in this archive");
  }
  if (known === undefined && archive.volumeIn(name) !== undefined) {
    throw new RefusalError("exists", "another volume of this archive has that directory");
  }
  const directory = ensureDirectory(archive.root, name);
  try {
    if (known === undefined) checkOurs(archive, directory);
    copyHeader(archive, directory);
    return directory;
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
}

/** A directory that no head names must be empty, or carry this archive's header: anything else is somebody's own. */
function checkOurs(archive: Archive, directory: Directory): void {
  const copy = headerIn(directory);
  const ours = copy !== undefined && equalBytes(copy, archive.header()?.header.uuid ?? new Uint8Array(0));
  for (const name of ours ? [] : namesIn(directory)) {
    if (name !== temporary)
      throw new RefusalError("exists", "a directory of that name is there and not this archive's");
  }
}

/** The archive's uuid, as a volume's directory has it; undefined where it has none that can be read. */
export function headerIn(directory: Directory): Uint8Array | undefined {
  for (const name of [...namesIn(directory)].filter((each) => parseArchiveFile(each) !== undefined)) {
    const uuid = unlessDamaged(() => {
      const bytes = readWhole(directory, name, maxArchiveHeaderBytes);
      return bytes && decodeArchiveHeader(bytes).uuid;
    });
    if (uuid !== undefined) return uuid;
  }
  return undefined;
}

const temporary = temporaries.archive;

function copyHeader(archive: Archive, directory: Directory): void {
  const wanted = archive.header()?.bytes;
  if (wanted === undefined) throw new RefusalError("missing", "the archive has no header yet: put it first");
  const name = archiveFile(archive.current?.head.archiveGeneration ?? (0 as Generation));
  const found = unlessDamaged(() => readWhole(directory, name, 16 * maxArchiveHeaderBytes));
  // A copy that differs is left from a creation that was never committed, or rotten: the archive's own counts.
  if (found === undefined || !equalBytes(found, wanted)) putCopy(directory, name, wanted);
}

/** Puts a copy of the archive's header into a volume's directory. */
export function putCopy(directory: Directory, name: string, bytes: Uint8Array): void {
  removeFile(directory, temporary);
  const fd = createFile(directory, temporary);
  try {
    writeAll(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  removeFile(directory, name);
  publishFile(directory, temporary, directory, name);
}

/**
 * Opens the directory of a volume that has sessions here: known to the head, begun in this connection (`begun`, by hex
 * id), or left over from an earlier one. RefusalError `missing` where it is none of these.
 */
export function findVolumeDirectory(
  archive: Archive,
  volume: VolumeId,
  begun: string | undefined,
): Directory {
  const name = archive.volume(volume)?.directory ?? begun ?? directoryOfLeftover(archive, volume);
  const directory = name === undefined ? undefined : openIfThere(archive.root, name);
  if (directory === undefined) throw new RefusalError("missing", "there is no session of that volume");
  return directory;
}

function directoryOfLeftover(archive: Archive, volume: VolumeId): string | undefined {
  const uuid = archive.header()?.header.uuid;
  for (const { identity, directory } of allLeftovers(archive)) {
    if (identity === undefined || !equalBytes(identity.volume, volume) || uuid === undefined) continue;
    using found = openDirectory(archive.root, directory);
    const copy = headerIn(found);
    if (copy !== undefined && equalBytes(copy, uuid)) return directory;
  }
  return undefined;
}
