// sweep: carries out the dead lists that are due, oldest first (archive-format.md, F34). A list alone makes nothing dead:
// whatever the current head still names stays, and so does what can't be told to be what the list means. Every step can be
// repeated, and the list itself goes last, so a sweep that was cut short is finished by the next one.

import { fstatSync, rmdirSync } from "node:fs";
import type { DeadContainer, DeadFile, DeadVolume } from "../../protocol/archive/dead-file.ts";
import type { HeadVolume } from "../../protocol/archive/head.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import {
  archiveFile,
  besideTar,
  fileNames,
  indexFile,
  isDirectoryName,
  listFile,
  manifestFile,
  parseArchiveFile,
  parseGeneration,
} from "../../protocol/archive/names.ts";
import { decodePrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import type { Generation, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type Directory, namesIn, openDirectory, openIfThere, syncDirectory } from "../directory.ts";
import { isDamage, RefusalError, unless } from "../errors.ts";
import { openFile, readStretch, removeFile, statOf } from "../files.ts";
import { type Archive, corruptUnless } from "../store/archive.ts";
import { keepCopies } from "../store/copies.ts";
import { deadGenerations, readDead } from "../store/dead-lists.ts";
import { syncFileSystem } from "../store/durable.ts";
import { pace } from "../store/pace.ts";
import { partIdentity } from "../store/part.ts";
import { removeTree, storageOf } from "../store/remove.ts";
import type { OnRemoved } from "../store/store.ts";
import { sessionEntry, stores } from "../store/stores.ts";
import { dayMilliseconds, recordedTrashDays } from "../store/trash-time.ts";
import { deadAddresses } from "./dead-addresses.ts";

export interface SweepOptions {
  /** The setting; undefined: what the archive has on record counts. */
  readonly trashDays: number | undefined;
  /** True where the file system can punch holes into tars. */
  readonly punch: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly onRemoved: OnRemoved;
}

/** Carries out what is due. Gives the bytes that came free. RefusalError `corrupt` where what counts can't be read: then
 *  nothing that depends on it is removed. */
export async function sweep(archive: Archive, options: SweepOptions): Promise<number> {
  const { current } = archive;
  if (current === undefined) return 0;
  const days = options.trashDays ?? recordedTrashDays(archive.root);
  let freed = 0;
  const onRemoved: OnRemoved = (bytes) => {
    freed += bytes;
    options.onRemoved(bytes);
  };
  for (const generation of deadGenerations(archive.root)) {
    if (generation > archive.generation) continue;
    const dead = corruptUnless(`dead list ${generation}`, () =>
      readDead(archive.root, current.head.archive, generation),
    );
    if (dead === undefined || !isDue(archive.root, dead, days, options.now)) continue;
    await carryOut(archive, dead, { ...options, onRemoved });
    await syncFileSystem(archive.root);
    using lists = openDirectory(archive.root, fileNames.dead);
    removeFile(lists, String(generation));
    syncDirectory(lists);
    archive.forgetTrash();
  }
  keepCopies(archive.root, current);
  return freed;
}

function isDue(root: Directory, dead: DeadFile, days: number, now: number): boolean {
  if (days === 0) return true;
  using lists = openDirectory(root, fileNames.dead);
  using file = openFile(lists, String(dead.generation));
  if (file === undefined) return false;
  return now >= fstatSync(file.fd).mtimeMs + days * dayMilliseconds && now >= dead.createdAt;
}

async function carryOut(archive: Archive, dead: DeadFile, options: SweepOptions): Promise<void> {
  const turn = pace();
  for (const each of dead.volumes) {
    await turn();
    const now = archive.volume(each.volume);
    using directory = openIfThere(archive.root, each.directory);
    if (directory === undefined) continue;
    if (each.removed) {
      // A volume that is there (again) is not removed.
      if (now === undefined) await removeVolume(archive, directory, each, options);
      continue;
    }
    await dropIndexes(directory, each, now, options);
    const current = currentOf(now === undefined ? [] : archive.containers(now));
    for (const container of each.containers) {
      await turn();
      await dropOfContainer(archive, directory, each.volume, container, current, options);
    }
  }
  await dropHeads(archive, dead.headsBelow, options);
  for (const generation of dead.archives) dropHeader(archive, generation);
}

// ---------------------------------------------------------------- containers

/** The containers that a volume has now, by hexadecimal uid and by name: both are one container's only. */
interface CurrentContainers {
  readonly byUid: ReadonlyMap<string, Container>;
  readonly byName: ReadonlyMap<string, Container>;
}

function currentOf(containers: readonly Container[]): CurrentContainers {
  return {
    byUid: new Map(containers.map((each) => [toHex(each.uid), each])),
    byName: new Map(containers.map((each) => [each.name, each])),
  };
}

async function dropOfContainer(
  archive: Archive,
  directory: Directory,
  volume: VolumeId,
  dead: DeadContainer,
  { byUid, byName }: CurrentContainers,
  options: SweepOptions,
): Promise<void> {
  const store = stores[dead.form];
  const current = byUid.get(toHex(dead.uid));
  const found = store.identityOf(directory, dead.name);
  const isOther =
    found !== undefined && !(equalBytes(found.session, dead.uid) && equalBytes(found.volume, volume));
  if (isOther) return;
  // Its name is another one's by now.
  const holder = byName.get(dead.name);
  if (holder !== undefined && !equalBytes(holder.uid, dead.uid)) return;
  if (dead.whole) {
    if (current !== undefined) return;
    await store.remove(directory, dead.name, options.onRemoved);
    await finishRemoval(directory, dead, options);
    return;
  }
  const gone = [
    ...dead.manifests.filter((each) => each !== current?.manifestGeneration).map(manifestFile),
    ...dead.lists.filter((each) => each !== current?.listGeneration).map(listFile),
  ];
  for (const file of gone) dropFile(directory, dead, file, options);
  // A session that is gone with its manifest needs no header; in a tar it stays.
  const hasSession = current !== undefined && current.manifestGeneration !== 0;
  if (dead.manifests.length > 0 && !hasSession && dead.form === "dir")
    dropFile(directory, dead, fileNames.header, options);
  if (dead.chunks.length === 0) return;
  const chunkSize = archive.header()?.header.chunkSize;
  if (chunkSize === undefined) throw new RefusalError("corrupt", "the archive header is missing");
  using addresses = await deadAddresses(directory, dead, current, chunkSize);
  await store.removeChunks(directory, dead.name, addresses.all, options);
}

/** A removal of chunk directories that was cut short has left the name of something unfinished. */
async function finishRemoval(
  directory: Directory,
  { form, name, uid }: DeadContainer,
  { onRemoved }: SweepOptions,
): Promise<void> {
  const part = stores[form].partName(name);
  {
    using left = form === "dir" ? openIfThere(directory, part) : undefined;
    if (left === undefined) return;
    const identity = partIdentity(left);
    // Without its list it has nothing left.
    const ours = identity === undefined ? [...namesIn(left)].length === 0 : equalBytes(identity.session, uid);
    if (!ours) return;
  }
  await removeTree(directory, part, onRemoved);
}

/** A list or manifest of a session; one that lies inside of a tar stays there. */
function dropFile(
  directory: Directory,
  { form, name }: DeadContainer,
  file: string,
  { onRemoved }: SweepOptions,
): void {
  if (form === "tar") {
    drop(directory, besideTar(name, file), onRemoved);
    return;
  }
  using session = openIfThere(directory, name);
  if (session !== undefined) drop(session, file, onRemoved);
}

function drop(directory: Directory, name: string, onRemoved: OnRemoved): void {
  const stat = statOf(directory, name);
  if (stat?.isFile() !== true) return;
  removeFile(directory, name);
  onRemoved(storageOf(stat));
}

// ---------------------------------------------------------------- volumes and the archive

async function dropIndexes(
  directory: Directory,
  dead: DeadVolume,
  now: HeadVolume | undefined,
  { onRemoved }: SweepOptions,
): Promise<void> {
  const turn = pace();
  for (const generation of dead.indexes) {
    await turn();
    const name = indexFile(generation);
    if (now?.indexGeneration === generation) continue;
    if (isOf(directory, name, dead.volume)) drop(directory, name, onRemoved);
  }
}

/** The volume that a file of ours says it belongs to; `other` where it can't say. */
function volumeOf(directory: Directory, name: string): VolumeId | "other" | undefined {
  try {
    using file = openFile(directory, name);
    return file && decodePrefix(readStretch(file, 0, prefixBytes)).volume;
  } catch (error) {
    if (isDamage(error)) return "other";
    throw error;
  }
}

function isOf(directory: Directory, name: string, volume: VolumeId): boolean {
  const found = volumeOf(directory, name);
  return found !== undefined && found !== "other" && equalBytes(found, volume);
}

/** All that is the volume's in its directory; and that, where nothing else is in it. */
async function removeVolume(
  archive: Archive,
  directory: Directory,
  dead: DeadVolume,
  { onRemoved }: SweepOptions,
): Promise<void> {
  const inUse = archive.volumeIn(dead.directory) !== undefined;
  const ours = (found: Uint8Array | undefined): boolean =>
    found === undefined ? !inUse : equalBytes(found, dead.volume);
  for (const entry of Array.from(namesIn(directory)).flatMap((name) => sessionEntry(name) ?? [])) {
    const store = stores[entry.form];
    if (entry.finished) {
      if (ours(store.identityOf(directory, entry.name)?.volume))
        await store.remove(directory, entry.name, onRemoved);
      continue;
    }
    const part = store.partName(entry.name);
    let identity: Uint8Array | undefined;
    {
      using left = openIfThere(directory, part);
      identity = left && partIdentity(left)?.volume;
    }
    if (ours(identity)) await removeTree(directory, part, onRemoved);
  }
  for (const name of Array.from(namesIn(directory))) {
    const isIndex = name.startsWith("index.") && parseGeneration(name.slice("index.".length)) !== undefined;
    const isBeside = /^S_\d{8}-\d{6}[.]tar[.](?:list|manifest)[.]\d+$/.test(name);
    if (!isIndex && !isBeside) continue;
    const found = volumeOf(directory, name);
    if (ours(found === "other" ? undefined : found)) drop(directory, name, onRemoved);
  }
  const left = [...namesIn(directory)];
  if (inUse || left.some((name) => parseArchiveFile(name) === undefined)) return;
  for (const name of left) drop(directory, name, onRemoved);
  unless(["ENOTEMPTY", "EEXIST", "ENOENT"], () => rmdirSync(archive.root.at(dead.directory)));
  syncDirectory(archive.root);
}

async function dropHeads(archive: Archive, below: Generation, { onRemoved }: SweepOptions): Promise<void> {
  using heads = openIfThere(archive.root, fileNames.heads);
  if (heads === undefined) return;
  const old = [...namesIn(heads)].filter((name) => {
    const generation = parseGeneration(name);
    return generation !== undefined && generation < below && generation < archive.generation;
  });
  const turn = pace();
  for (const name of old) {
    await turn();
    drop(heads, name, onRemoved);
  }
}

function dropHeader(archive: Archive, generation: Generation): void {
  if (archive.current?.head.archiveGeneration === generation) return;
  const name = archiveFile(generation);
  const volumes = [...namesIn(archive.root)].filter(
    (each) => isDirectoryName(each) && statOf(archive.root, each)?.isDirectory() === true,
  );
  for (const each of volumes) {
    using directory = unless(["EACCES", "EPERM", "ENOENT"], () => openDirectory(archive.root, each));
    // Only where the one that counts is as well: a directory must say what it belongs to.
    const counts = archiveFile(archive.current?.head.archiveGeneration ?? generation);
    if (directory !== undefined && statOf(directory, counts) !== undefined) removeFile(directory, name);
  }
  removeFile(archive.root, name);
}
