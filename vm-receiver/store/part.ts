// The directory in which a session is written, in either form: it carries `.part`, so that no head can name it, and from
// its first moment a record that says whose it is.

import { closeSync, fsyncSync, mkdirSync } from "node:fs";
import {
  type ListBuilder,
  listBuilder,
  listHeadBytes,
  type ListIdentity,
} from "../../protocol/archive/list-file.ts";
import { fileNames, manifestFile } from "../../protocol/archive/names.ts";
import type { ChunkAddress, Digest, SessionUid } from "../../protocol/archive/types.ts";
import { type Directory, namesIn, openDirectory, syncDirectory } from "../directory.ts";
import { ifPossible, systemCode, unlessDamaged } from "../errors.ts";
import { createFile, openFile, readStretch, readWhole, removeFile, writeAll } from "../files.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import {
  decodePending,
  encodePending,
  maxPendingBytes,
  pendingFile,
  type PendingRecord,
} from "./pending-record.ts";
import { SyncCutShortError } from "./durable.ts";
import { renameNew } from "./publish.ts";
import { removeTree } from "./remove.ts";
import { createSpool, type Spool } from "./spool.ts";
import { newListPart, tarPart } from "./spool-names.ts";
import { unbornPart } from "./temporaries.ts";
import type { Written } from "./store.ts";

/** What both forms have while they are written. */
export interface Part extends Disposable {
  readonly directory: Directory;
  readonly written: Written;
  readonly list: Spool;
  /** Notes a chunk that has been stored. */
  add(address: ChunkAddress, stored: Uint8Array, checksum: Digest): void;
  readonly createMeta: (file: "header" | "manifest") => number;
  /** Writes count and digest behind the list's records. */
  readonly endList: () => Digest;
}

/** Makes `name` in the volume's directory and opens it. RefusalError `exists` when there is one. */
export async function createPart(volume: Directory, name: string, record: PendingRecord): Promise<Part> {
  const directory = await createPartDirectory(volume, name, record);
  try {
    return partOf(directory, record);
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
}

/** Makes the directory of a part, with its record and nothing else. RefusalError `exists`. */
export async function createPartDirectory(
  volume: Directory,
  name: string,
  record: PendingRecord,
): Promise<Directory> {
  await removeTree(volume, unbornPart);
  mkdirSync(volume.at(unbornPart), 0o700);
  const directory = openDirectory(volume, unbornPart);
  try {
    const fd = createFile(directory, pendingFile);
    try {
      writeAll(fd, encodePending(record));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    syncDirectory(directory);
    renameNew(volume, unbornPart, volume, name);
    syncDirectory(volume);
    return directory;
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
}

function partOf(directory: Directory, record: PendingRecord): Part {
  const builder: ListBuilder = listBuilder(record);
  const list = createSpool(directory, fileNames.list);
  list.append(builder.head);
  let written: Written = { chunks: 0, bytes: 0, address: 0 as ChunkAddress };
  return {
    directory,
    list,
    get written() {
      return written;
    },
    add: (address, stored, checksum) => {
      list.append(builder.add({ address, storedLength: stored.length, checksum }));
      written = { chunks: written.chunks + 1, bytes: written.bytes + stored.length, address };
    },
    createMeta: (file) =>
      createFile(directory, file === "header" ? fileNames.header : manifestFile(record.generation), true),
    endList: () => {
      const { tail, digest } = builder.finish();
      list.append(tail);
      list.flush();
      return digest;
    },
    [Symbol.dispose]: () => {
      list[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}

/** Removes the record: the session is complete, and its list says from now on whose it is. */
export function dropRecord(directory: Directory): void {
  removeFile(directory, pendingFile);
}

/** Syncs of this process that have not ended. */
const underway = new Set<Promise<unknown>>();

/**
 * Runs what makes a part last. Where that fails the part says from then on no longer whose it is: what could not be
 * written still reads well from memory, and a second sync would find nothing to complain of, so nobody may ever make a
 * container of it. Throws what `sync` throws.
 */
export async function syncOrForsake<T>(part: Directory, sync: () => Promise<T>): Promise<T> {
  const syncing = sync();
  underway.add(syncing);
  try {
    return await syncing;
  } catch (error) {
    if (!(error instanceof SyncCutShortError)) forsake(part);
    throw error;
  } finally {
    underway.delete(syncing);
  }
}

/** Resolves once no sync of this process goes on: one that fails after its part is closed could not tell the part. */
export async function syncsEnded(): Promise<void> {
  while (underway.size > 0) await Promise.allSettled(underway);
}

/** The same for a write that failed, by which network file systems tell of what could not be written before. Gives the
 *  error back. */
export function forsakenBy(error: unknown, part: Directory): unknown {
  if (systemCode(error) === "EIO") forsake(part);
  return error;
}

/** Removes what says whose the part is, and a tar, as far as the file system still lets us. */
function forsake(part: Directory): void {
  for (const name of [pendingFile, fileNames.list, newListPart, tarPart])
    ifPossible(() => removeFile(part, name));
  ifPossible(() => syncDirectory(part));
}

/** Whose session a part is: by its record, or by its list once the record is gone; undefined when neither can tell. */
export function partIdentity(directory: Directory): ListIdentity | undefined {
  return unlessDamaged(() => {
    const bytes = readWhole(directory, pendingFile, maxPendingBytes);
    return bytes === undefined ? listIdentity(directory) : decodePending(bytes);
  });
}

/** Whose session it is that has its list, or a later one, in `directory`; undefined without any. Throws what damage
 *  throws. */
export function listIdentity(directory: Directory): ListIdentity | undefined {
  const first = identityIn(directory, fileNames.list);
  if (first !== undefined) return first;
  const later = [...namesIn(directory)].find((name) => /^list[.]\d+$/.test(name));
  return later === undefined ? undefined : identityIn(directory, later);
}

function identityIn(directory: Directory, name: string): ListIdentity | undefined {
  using file = openFile(directory, name);
  if (file === undefined) return undefined;
  const head = readStretch(file, 0, listHeadBytes);
  const prefix = decodePrefix(head);
  expectPrefix(prefix, { kind: "list" });
  const { archive, volume, generation } = prefix;
  return { archive, volume, generation, session: head.slice(prefixBytes) as SessionUid };
}
