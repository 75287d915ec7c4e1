// What the newest head no longer leads to and still lies there for its time: older heads, each by the chain of the one
// after it, the indexes and headers that they name, and in these indexes what dead lists keep of containers.

import { setImmediate as nextTurn } from "node:timers/promises";
import {
  decodeHead,
  type Head,
  type HeadVolume,
  maxGenerations,
  maxHeadBytes,
} from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type Directory, namesIn, openIfThere } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { openFile, readWhole } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { stateOfFile } from "../store/whole-file.ts";
import { type Found, type Say, sayTo } from "./found.ts";

/** A container that is in no index that counts. */
export interface OldContainer {
  readonly volume: HeadVolume;
  readonly container: Container;
}

export interface History {
  /** What is wrong with older heads and indexes. */
  readonly found: readonly Found[];
  /** True where a head that is there names `index.N` of a volume; then it has been checked. */
  isIndexNamed(volume: VolumeId, generation: Generation): boolean;
  /** Digest by which a head that is there names `archive.N`. */
  archiveDigest(generation: Generation): Digest | undefined;
  /** Digest by which an older index names a list or manifest that waits to be removed. */
  fileDigest(
    volume: VolumeId,
    container: SessionUid,
    kind: "list" | "manifest",
    generation: Generation,
  ): Digest | undefined;
  /** Containers that wait to be removed. */
  readonly containers: readonly OldContainer[];
}

const known = new WeakMap<Archive, Promise<History>>();

/** The history of an archive, read once. `onBytes` hears of what is read. */
export async function historyOf(archive: Archive, onBytes: (bytes: number) => void): Promise<History> {
  const before = known.get(archive);
  if (before !== undefined) return before;
  const reading = readHistory(archive, onBytes);
  known.set(archive, reading);
  return reading;
}

async function readHistory(archive: Archive, onBytes: (bytes: number) => void): Promise<History> {
  const head = archive.current?.head;
  const found: Found[] = [];
  const say = sayTo((each) => found.push(each));
  // There may be hundreds of thousands of indexes, so of each no more is kept than that a head names it.
  const indexes = new Set<number>();
  const numbers = new Map<string, number>();
  const keyOf = (volume: VolumeId, generation: Generation): number => {
    const id = toHex(volume);
    const number = numbers.get(id) ?? numbers.size;
    numbers.set(id, number);
    return number * 2 * maxGenerations + generation;
  };
  const archives = new Map<Generation, Digest>();
  const waiting = waitingContainers(archive);
  if (head !== undefined) {
    archives.set(head.archiveGeneration, head.archiveDigest);
    for (const { volume, indexGeneration } of head.volumes) indexes.add(keyOf(volume, indexGeneration));
    // A volume that was removed has taken its indexes with it, and may be there again under the same id.
    let stayed: ReadonlySet<string> = idsOf(head);
    let after: number = head.generation;
    for await (const old of olderHeads(archive, head, say, onBytes)) {
      archives.set(old.archiveGeneration, old.archiveDigest);
      const isNext = old.generation === after - 1;
      for (const volume of old.volumes) {
        const key = keyOf(volume.volume, volume.indexGeneration);
        if (indexes.has(key)) continue;
        indexes.add(key);
        const hasStayed = isNext && stayed.has(toHex(volume.volume));
        await checkIndex(archive, volume, hasStayed, say, onBytes);
        waiting.gather(volume);
      }
      stayed = isNext ? idsOf(old).intersection(stayed) : new Set();
      after = old.generation;
    }
  }
  return {
    found,
    isIndexNamed: (volume, generation) => indexes.has(keyOf(volume, generation)),
    archiveDigest: (generation) => archives.get(generation),
    fileDigest: (volume, container, kind, generation) =>
      waiting.digests.get(`${toHex(volume)}${toHex(container)} ${kind} ${generation}`),
    containers: [...waiting.containers.values()],
  };
}

function idsOf({ volumes }: Head): ReadonlySet<string> & Pick<Set<string>, "intersection"> {
  return new Set(volumes.map(({ volume }) => toHex(volume)));
}

/** An index that an older head names. `hasStayed`: every head since then has the volume. */
async function checkIndex(
  archive: Archive,
  { volume, directory: name, indexGeneration: number, indexDigest }: HeadVolume,
  hasStayed: boolean,
  say: Say,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const trash = archive.trash();
  const state = await orDamaged(async () => {
    using directory = openIfThere(archive.root, name);
    using file = directory && openFile(directory, indexFile(number));
    if (file === undefined) return "missing";
    return (await stateOfFile(file, indexDigest, onBytes)) === "whole" ? "whole" : undefined;
  });
  if (state === "whole") return;
  const mayBeGone = !hasStayed || trash.unreadable || trash.isDeadIndex(volume, number);
  if (state === "missing" && mayBeGone) return;
  say(`${name}/${indexFile(number)}`, "index", state ?? "stale", { number, volume });
}

interface Waiting {
  readonly digests: ReadonlyMap<string, Digest>;
  readonly containers: ReadonlyMap<string, OldContainer>;
  /** Takes what dead lists keep of an older index. */
  gather(volume: HeadVolume): void;
}

/** What dead lists keep, as older indexes have it: the newest first. */
function waitingContainers(archive: Archive): Waiting {
  const trash = archive.trash();
  const digests = new Map<string, Digest>();
  const containers = new Map<string, OldContainer>();
  const living = new Map<string, ReadonlySet<string>>();
  const livingOf = (volume: VolumeId): ReadonlySet<string> => {
    const id = toHex(volume);
    const before = living.get(id);
    if (before !== undefined) return before;
    const now = archive.volume(volume);
    const uids = (now && orDamagedNow(() => archive.containers(now))) ?? [];
    const found = new Set(uids.map(({ uid }) => toHex(uid)));
    living.set(id, found);
    return found;
  };
  return {
    digests,
    containers,
    gather: (volume) => {
      const id = toHex(volume.volume);
      if (!trash.touchesVolume(id)) return;
      for (const container of containersIn(archive.root, volume)) {
        const uid = toHex(container.uid);
        if (!trash.touches(id, uid)) continue;
        digests.set(`${id}${uid} list ${container.listGeneration}`, container.listDigest);
        digests.set(`${id}${uid} manifest ${container.manifestGeneration}`, container.manifestDigest);
        const isOld = !livingOf(volume.volume).has(uid) && !containers.has(id + uid);
        if (isOld) containers.set(id + uid, { volume, container });
      }
    },
  };
}

/** Containers of an older index; none where it is damaged or gone. */
function containersIn(
  root: Directory,
  { volume, directory: name, indexGeneration: generation, indexDigest }: HeadVolume,
): readonly Container[] {
  const found = orDamagedNow(() => {
    using directory = openIfThere(root, name);
    const bytes = directory && readWhole(directory, indexFile(generation), maxIndexBytes);
    if (bytes === undefined || !equalBytes(fileDigest(bytes), indexDigest)) return undefined;
    return containersOf(bytes, { volume, generation });
  });
  return found ?? [];
}

/** Heads before the newest, from the last on, as far as they can be read. */
async function* olderHeads(
  archive: Archive,
  newest: Head,
  say: Say,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Head, void, void> {
  const { headsBelow, unreadable } = archive.trash();
  const report = (what: "missing" | "stale" | "leftover", number: number): void =>
    say(`${fileNames.heads}/${number}`, "head", what, { number });
  using heads = openIfThere(archive.root, fileNames.heads);
  if (heads === undefined) return;
  const generations = [...namesIn(heads)]
    .flatMap((name) => parseGeneration(name) ?? [])
    .filter((each) => each < newest.generation)
    .sort((a, b) => b - a);
  let after: number = newest.generation;
  let chain: Digest | undefined = newest.previousChain;
  let isGoing = false;
  for (const generation of generations) {
    if (generation !== after - 1) {
      // Heads are removed in no order, so there may be gaps among those that are to go.
      isGoing ||= after - 1 < headsBelow || unreadable;
      if (!isGoing) report("missing", after - 1);
      chain = undefined;
    }
    if (isGoing) report("leftover", generation);
    after = generation;
    const head = readHead(archive, heads, generation, onBytes);
    if (head === "gone") continue;
    const carriesOn =
      head !== undefined && (chain === undefined ? isLogOf(head, newest) : equalBytes(head.chain, chain));
    chain = head !== undefined && carriesOn ? head.previousChain : undefined;
    if (head === undefined || !carriesOn) report("stale", generation);
    else yield head;
    await nextTurn();
  }
}

/** Where the head between is gone, the log has to do. */
function isLogOf(older: Head, newest: Head): boolean {
  return equalBytes(older.log, newest.log.subarray(0, older.log.length));
}

function readHead(
  { current }: Archive,
  heads: Directory,
  generation: Generation,
  onBytes: (bytes: number) => void,
): Head | "gone" | undefined {
  return orDamagedNow(() => {
    const bytes = readWhole(heads, String(generation), maxHeadBytes);
    if (bytes === undefined) return "gone";
    onBytes(bytes.length);
    const archive = current?.head.archive;
    return decodeHead(bytes, { generation, ...(archive === undefined ? {} : { archive }) });
  });
}

/** undefined where what is read is damaged. */
function orDamagedNow<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    return undefinedIfDamage(error);
  }
}

async function orDamaged<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    return undefinedIfDamage(error);
  }
}

function undefinedIfDamage(error: unknown): undefined {
  if (error instanceof RefusalError || isDamage(error)) return undefined;
  throw error;
}
