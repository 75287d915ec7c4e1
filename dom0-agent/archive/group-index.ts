// The chunk index of a volume's group, brought up to the archive's current state. It says only what dom0 has sent
// itself or what a verified manifest of the archive says, never what the VM claims (design section 5). What it says
// of a container holds as long as that container's volume names it with the same list: whoever removed a chunk since,
// here or on another host, has given it another list, and then the index is made again.

import type { Head } from "../../protocol/archive/head.ts";
import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { Digest, GroupId, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import {
  type ChunkIndex,
  dropChunkIndex,
  isGone,
  type IndexedContainer,
  type IndexedVolume,
  type IndexEditor,
  openChunkIndex,
} from "../state/chunk-index.ts";
import { type LostPlaces, nothingLost } from "../state/lost-places.ts";
import {
  type ChunkPlace,
  DamagedTableError,
  entriesOf,
  findChunk,
  pageBytes,
  type TableFile,
} from "../state/chunk-table.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { type OpenArchive, readIndex } from "./archive.ts";
import { fetchManifest } from "./fetch-manifest.ts";

/** The index of `group` as of the current head. Only what is missing is fetched; where it can't be built upon, all of
 *  it is. It has no place of those that are `lost`. `notice` hears why. Throws AgentError `integrity` for files that are
 *  not what the head names. */
export async function openGroupIndex(
  open: OpenArchive,
  group: GroupId,
  notice: (message: string) => void,
  lost: LostPlaces = nothingLost,
): Promise<ChunkIndex> {
  const paths = open.paths.group(group);
  for (;;) {
    const index = openChunkIndex(paths, notice);
    let why = "chunks were removed meanwhile";
    try {
      if (offersLost(index, lost)) why = "it has chunks that are lost";
      else if (await caughtUp(open, group, index, lost)) return index;
    } catch (error) {
      index[Symbol.dispose]();
      if (!(error instanceof DamagedTableError)) throw error;
      why = error.message;
    }
    index[Symbol.dispose]();
    notice(`the index of its chunks is made again from the archive: ${why}`);
    dropChunkIndex(paths);
  }
}

/** Adds what sessions have brought that the index does not know. False where something that it knows is gone. */
async function caughtUp(
  open: OpenArchive,
  group: GroupId,
  index: ChunkIndex,
  lost: LostPlaces,
): Promise<boolean> {
  const now = digestsOf(open.head);
  const stale = index.volumes.filter(
    ({ volume, indexDigest }) => !sameDigest(now.get(toHex(volume)), indexDigest),
  );
  const known = new Set(index.volumes.map((each) => toHex(each.volume)));
  const members = open.record.volumes.filter((each) => equalBytes(each.group, group)).map((each) => each.id);
  const added = members.filter((each) => now.has(toHex(each)) && !known.has(toHex(each)));
  if (stale.length === 0 && added.length === 0) return true;

  const read = indexReader(open);
  for (const { volume } of stale) {
    const current = await read(volume);
    if (!index.containers.every((each) => !equalBytes(each.volume, volume) || isStill(each, current)))
      return false;
  }
  const isMember = new Set(members.map(toHex));
  const behind = [...stale.map((each) => each.volume).filter((each) => isMember.has(toHex(each))), ...added];
  const seen = new Map(index.volumes.map((each) => [toHex(each.volume), each.volume]));
  const stamped = (): readonly IndexedVolume[] => stampOf([...seen.values()], now);
  await index.update(stamped, async (edit) => {
    for (const volume of behind) {
      seen.set(toHex(volume), volume);
      await addVolume(open, index, edit, volume, read, lost, (of) => seen.set(toHex(of), of));
    }
  });
  return true;
}

/** True where it has one of the lost places: made without them, it has the other copies of these chunks, if there are any. */
function offersLost(index: ChunkIndex, lost: LostPlaces): boolean {
  return lost.chunks.some(({ id }) => {
    const place = placeOf(index, id);
    const container = place && index.containers[place.container - 1];
    return place !== undefined && container !== undefined && lost.has(container, place.storedAddress);
  });
}

/** Where the group has the chunk; undefined where it does not. Throws DamagedTableError. */
export function placeOf(index: ChunkIndex, id: Uint8Array): ChunkPlace | undefined {
  return findChunk(index.file, id, new Uint8Array(pageBytes));
}

type ReadIndex = (volume: VolumeId) => Promise<VolumeIndex | undefined>;

/** Adds the chunks of all sessions of a volume that the index does not have yet. */
async function addVolume(
  open: OpenArchive,
  index: ChunkIndex,
  edit: IndexEditor,
  volume: VolumeId,
  read: ReadIndex,
  lost: LostPlaces,
  onVolume: (volume: VolumeId) => void,
): Promise<void> {
  const current = await read(volume);
  if (current === undefined) return;
  const complete = new Set(
    index.containers
      .filter((each) => each.complete && equalBytes(each.volume, volume))
      .map((each) => toHex(each.session)),
  );
  const missing = current.sessions.filter((each) => !complete.has(toHex(each.uid)));
  const containers = missing.flatMap((each) => containerOf(current, each.uid) ?? []);
  edit.reserve(containers.reduce((sum, each) => sum + each.chunks, 0));
  for (const container of containers) {
    using manifest = await fetchManifest(
      open,
      current,
      container,
      `${open.paths.group(current.group).table}.fetched`,
    );
    const own = { volume, session: container.uid };
    const numbers: (number | undefined)[] = [];
    const lostOf = [own, ...manifest.containers].map((ref) => lost.in(ref));
    for (const ref of [own, ...manifest.containers]) {
      numbers.push(await numberOf(edit, ref, read));
      onVolume(ref.volume);
    }
    for (const entry of manifest.entries()) {
      const number = entry.kind === "chunk" ? numbers[entry.container] : undefined;
      if (entry.kind === "hole" || number === undefined) continue;
      if (lostOf[entry.container]?.has(entry.storedAddress) === true) continue;
      edit.add(entry.id, { ...entry, container: number });
    }
    if (numbers[0] !== undefined) edit.complete(numbers[0]);
  }
}

async function numberOf(edit: IndexEditor, ref: ContainerRef, read: ReadIndex): Promise<number | undefined> {
  const index = await read(ref.volume);
  const container = index && containerOf(index, ref.session);
  return container && edit.numberOf({ ...ref, listDigest: container.listDigest });
}

/** What a committed session has brought. Container k of `fresh` is `containers[k]`, the first one its own; of those
 *  that `index`, its volume's, does not name, nothing is taken. */
export async function addCommitted(
  open: OpenArchive,
  index: ChunkIndex,
  done: {
    readonly index: VolumeIndex;
    readonly containers: readonly ContainerRef[];
    readonly fresh: TableFile;
    readonly entries: number;
  },
): Promise<void> {
  const volumes = [...index.volumes.map((each) => each.volume), done.index.volume];
  const stamped = (): readonly IndexedVolume[] => stampOf(volumes, digestsOf(open.head));
  await index.update(stamped, (edit) => {
    const numbers = done.containers.map((ref) => {
      const container = containerOf(done.index, ref.session);
      return container && edit.numberOf({ ...ref, listDigest: container.listDigest });
    });
    edit.reserve(done.entries);
    for (const { id, place } of entriesOf(done.fresh)) {
      const container = numbers[place.container];
      if (container !== undefined) edit.add(id, { ...place, container });
    }
    if (numbers[0] !== undefined) edit.complete(numbers[0]);
  });
}

/**
 * Takes the chunks that a step of this dom0 has removed out of a group's index, so that it need not be made again.
 * `before` is the head that the step was made from, `open` has the one that it made, `indexes` are the new indexes of
 * the volumes that it changed, `deadIn` says of each container which stored addresses are dead in it. An index of
 * another state than `before` is forgotten instead.
 */
export async function dropFromIndex(
  open: OpenArchive,
  group: GroupId,
  before: Head,
  indexes: readonly VolumeIndex[],
  deadIn: (container: ContainerRef) => ((storedAddress: number) => boolean) | undefined,
): Promise<void> {
  const paths = open.paths.group(group);
  const ignored = (): void => undefined;
  using index = openChunkIndex(paths, ignored);
  const then = digestsOf(before);
  const fits = index.volumes.every(({ volume, indexDigest }) =>
    sameDigest(then.get(toHex(volume)), indexDigest),
  );
  const now = digestsOf(open.head);
  const stays = index.volumes.filter((each) => now.has(toHex(each.volume)));
  if (!fits || stays.length < index.volumes.length) return dropChunkIndex(paths);
  const changed = new Map(indexes.map((each) => [toHex(each.volume), each]));
  const stamped = (): readonly IndexedVolume[] =>
    stampOf(
      stays.map((each) => each.volume),
      now,
    );
  await index.update(stamped, (edit) => {
    edit.renew(({ volume, session, listDigest }) => {
      const volumeNow = changed.get(toHex(volume));
      return volumeNow === undefined ? listDigest : containerOf(volumeNow, session)?.listDigest;
    });
    edit.drop(deadIn);
  });
}

/** Forgets a group's index: for whoever can't say which chunks of it are gone. The next send makes it again. */
export function forgetIndex(paths: ArchivePaths, group: GroupId): void {
  dropChunkIndex(paths.group(group));
}

function isStill(container: IndexedContainer, index: VolumeIndex | undefined): boolean {
  if (isGone(container)) return true;
  const found = index && containerOf(index, container.session);
  return found !== undefined && equalBytes(found.listDigest, container.listDigest);
}

/** Reads indexes of volumes, each once as long as it is one of the last few. */
function indexReader(open: OpenArchive): ReadIndex {
  const kept = new Map<string, VolumeIndex | undefined>();
  const most = 8;
  return async (volume) => {
    const key = toHex(volume);
    if (kept.has(key)) return kept.get(key);
    const index = await readIndex(open, volume);
    const [oldest] = kept.keys();
    if (kept.size >= most && oldest !== undefined) kept.delete(oldest);
    kept.set(key, index);
    return index;
  };
}

function digestsOf(head: Head): ReadonlyMap<string, Digest> {
  return new Map(head.volumes.map((each) => [toHex(each.volume), each.indexDigest]));
}

function sameDigest(a: Digest | undefined, b: Digest): boolean {
  return a !== undefined && equalBytes(a, b);
}

function stampOf(volumes: readonly VolumeId[], now: ReadonlyMap<string, Digest>): readonly IndexedVolume[] {
  return [...new Map(volumes.map((each) => [toHex(each), each]))].flatMap(([key, volume]) => {
    const indexDigest = now.get(key);
    return indexDigest === undefined ? [] : [{ volume, indexDigest }];
  });
}
