// Lists that are missing, damaged or wrong, made again from what the manifests of the group say of their containers.
// Chunks that no session needs are not in the new list. The manifests are read once to learn which chunks there are, a bit
// for each, and then once for so many of these as are sorted in memory at a time.

import type { DeadVolume } from "../../protocol/archive/dead-file.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import {
  type ListBuilder,
  listBuilder,
  type ListEntry,
  listLength,
  listRecordBytes,
} from "../../protocol/archive/list-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress, Digest, Generation } from "../../protocol/archive/types.ts";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { InternalError } from "../../protocol/errors.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { commitStep, nextGeneration, type StepFile } from "../archive/commit-step.ts";
import { fetchManifest } from "../archive/fetch-manifest.ts";
import { allSessions } from "../restore/find-session.ts";
import { type NamelessFile, namelessFile } from "../restore/nameless-file.ts";
import type { LostPlaces } from "../state/lost-places.ts";
import { type AddressSet, addressSet } from "./address-set.ts";
import type { CheckedVolume } from "./check-group.ts";
import type { ContainerHealth } from "./container-health.ts";
import type { ArchivedVolume } from "./archived-volume.ts";

interface Rebuilt {
  readonly health: ContainerHealth;
  /** What the new list names. */
  readonly chunks: AddressSet;
}

/** A new list whose records are in a file. */
interface NewList {
  readonly builder: ListBuilder;
  /** Where they begin in the file, bytes. */
  readonly start: number;
}

/** The first and the last address of some chunks of a container. */
interface Range {
  readonly first: ChunkAddress;
  last: ChunkAddress;
}

/** Chunks that are sorted in memory at once, of 200 bytes. */
const mostSorted = 524_288;
/** Records that are read from the file, and sent, at once. */
const blockRecords = 4096;

/** True for a container whose list does not say what its manifests say. */
export function needsList({ list, unlisted }: ContainerHealth): boolean {
  return list === undefined || unlisted.size > 0;
}

/** Commits new lists for the containers of a group that need them, and that stay when the sessions `removed` go, by
 *  hexadecimal uid. Of lost chunks they name those in `kept`, and those
 *  of which it is not known what they are: their turn comes later. Gives the volumes as they are then. */
export async function rebuildLists(
  open: OpenArchive,
  group: readonly CheckedVolume[],
  removed: ReadonlySet<string>,
  kept: LostPlaces,
): Promise<readonly ArchivedVolume[]> {
  const volumes = group.map((each) => each.volume);
  const broken = new Map<string, Rebuilt>();
  for (const { volume, containers } of group) {
    for (const health of containers.filter(needsList)) {
      const ref = { volume: volume.index.volume, session: health.container.uid };
      broken.set(keyOf(ref), { health, chunks: addressSet() });
    }
  }
  if (broken.size === 0) return volumes;
  const gathered: Gathered = { open, volumes, broken, removed, kept };
  await gather(gathered, ({ chunks }, { address }) => chunks.add(address));
  for (const [key, { health, chunks }] of broken) {
    const { index } = health.volume;
    const stays = index.sessions.some(
      ({ uid }) => equalBytes(uid, health.container.uid) && !removed.has(toHex(uid)),
    );
    if (!stays && chunks.size === 0) broken.delete(key);
  }
  if (broken.size === 0) return volumes;
  const generation = nextGeneration(open);
  using records = namelessFile(open.paths.directory);
  const lists = await writeRecords(records, gathered, generation);
  const files: StepFile[] = [];
  const dead: DeadVolume[] = [];
  const after = volumes.map((volume): ArchivedVolume => {
    const { directory, index } = volume;
    const changed: Container[] = [];
    const containers = index.containers.map((container) => {
      const key = keyOf({ volume: index.volume, session: container.uid });
      const found = broken.get(key);
      if (found === undefined) return container;
      changed.push(container);
      const list = lists.get(found);
      if (list === undefined) throw new InternalError(`no records for ${key}`);
      const { file, now } = newList(volume, { ...container, listGeneration: generation }, records, list);
      files.push(file);
      return now;
    });
    if (changed.length === 0) return volume;
    const old = changed.map(({ uid, name, form, listGeneration }) => {
      return { uid, name, form, whole: false, manifests: [], lists: [listGeneration], chunks: [] };
    });
    dead.push({ volume: index.volume, directory, removed: false, indexes: [], containers: old });
    return { directory, index: { ...index, generation, containers } };
  });
  await commitStep(open, {
    note: { what: "prune" },
    indexes: after.filter((each, i) => each !== volumes[i]),
    files,
    dead: {
      volumes: dead.sort((a, b) => Buffer.compare(a.volume, b.volume)),
      headsBelow: 0 as Generation,
      archives: [],
    },
  });
  return after;
}

/** What a group's manifests are read for. */
interface Gathered {
  readonly open: OpenArchive;
  readonly volumes: readonly ArchivedVolume[];
  /** By keyOf. */
  readonly broken: ReadonlyMap<string, Rebuilt>;
  readonly removed: ReadonlySet<string>;
  readonly kept: LostPlaces;
}

/** Gives each chunk that the manifests name of the broken containers, in no order, and again for each that names it. Of each
 *  volume they are read up to that of the last session that stays: all of these can be read, for a lost manifest costs
 *  every session behind it. */
async function gather(
  { open, volumes, broken, removed, kept }: Gathered,
  take: (of: Rebuilt, entry: ListEntry) => void,
): Promise<void> {
  for (const { index } of volumes) {
    const sessions = allSessions(index);
    const last = sessions.findLastIndex(({ record }) => !removed.has(toHex(record.uid)));
    for (const { container } of sessions.slice(0, last + 1)) {
      using manifest = await fetchManifest(open, index, container, `${open.paths.directory}/.repair`);
      const own = { volume: index.volume, session: container.uid };
      const refs = [own, ...manifest.containers];
      const found = refs.map((ref) => broken.get(keyOf(ref)));
      const keptIn = refs.map((ref) => kept.in(ref));
      for (const entry of manifest.entries()) {
        const of = entry.kind === "chunk" ? found[entry.container] : undefined;
        if (entry.kind !== "chunk" || of === undefined) continue;
        const isLost = of.health.contents.has(entry.storedAddress);
        if (isLost && keptIn[entry.container]?.has(entry.storedAddress) !== true) continue;
        const { storedAddress: address, storedLength, checksum } = entry;
        take(of, { address, storedLength, checksum });
      }
    }
  }
}

/** Writes the records of the new lists of the broken containers, one list behind the other. */
async function writeRecords(
  file: NamelessFile,
  gathered: Gathered,
  generation: Generation,
): Promise<ReadonlyMap<Rebuilt, NewList>> {
  const lists = new Map<Rebuilt, NewList>();
  let start = 0;
  for (const of of gathered.broken.values()) {
    const { volume, container } = of.health;
    const { archive, volume: id } = volume.index;
    const builder = listBuilder({ archive, volume: id, session: container.uid, generation });
    lists.set(of, { builder, start });
    start += of.chunks.size * listRecordBytes;
  }
  for (const ranges of sortable(gathered.broken.values())) {
    const entries = new Map([...ranges.keys()].map((of) => [of, new Map<ChunkAddress, ListEntry>()]));
    await gather(gathered, (of, { address, storedLength, checksum }) => {
      const range = ranges.get(of);
      if (range === undefined || address < range.first || address > range.last) return;
      entries.get(of)?.set(address, { address, storedLength, checksum: checksum.slice() as Digest });
    });
    for (const [of, found] of entries) {
      const sorted = [...found.values()].sort((a, b) => a.address - b.address);
      const builder = lists.get(of)?.builder;
      for (let i = 0; i < sorted.length; i += blockRecords)
        file.append(
          concatBytes(sorted.slice(i, i + blockRecords).flatMap((each) => builder?.add(each) ?? [])),
        );
    }
  }
  if (file.length() !== start) throw new InternalError(`${file.length()} bytes of records, wanted ${start}`);
  return lists;
}

/** The chunks of all lists in their order, so many at a time as are sorted at once. */
function* sortable(broken: Iterable<Rebuilt>): Generator<ReadonlyMap<Rebuilt, Range>, void, undefined> {
  let ranges = new Map<Rebuilt, Range>();
  let count = 0;
  for (const of of broken) {
    for (const address of of.chunks) {
      const range = ranges.get(of);
      if (range === undefined) ranges.set(of, { first: address, last: address });
      else range.last = address;
      if (++count < mostSorted) continue;
      yield ranges;
      ranges = new Map();
      count = 0;
    }
  }
  if (count > 0) yield ranges;
}

function newList(
  { index: { volume } }: ArchivedVolume,
  container: Container,
  file: NamelessFile,
  { builder, start }: NewList,
): { readonly file: StepFile; readonly now: Container } {
  const { uid: session } = container;
  const { tail, digest, chunks, bytes: storedBytes } = builder.finish();
  const parts = function* (): Generator<Uint8Array, void, undefined> {
    yield builder.head;
    for (let i = 0; i < chunks; i += blockRecords) {
      const block = new Uint8Array(Math.min(blockRecords, chunks - i) * listRecordBytes);
      file.read(block, start + i * listRecordBytes);
      yield block;
    }
    yield tail;
  };
  return {
    file: { kind: "list", volume, session, length: listLength(chunks), digest, parts },
    now: { ...container, listDigest: digest, chunks, storedBytes },
  };
}

function keyOf({ volume, session }: ContainerRef): string {
  return toHex(volume) + toHex(session);
}
