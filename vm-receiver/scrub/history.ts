// What the newest head no longer leads to and still lies there for its time: older heads, each by the chain of the one
// after it, the indexes and headers that they name, and in these indexes what dead lists keep of containers.

import { setImmediate as nextTurn } from "node:timers/promises";
import { decodeHead, type Head, type HeadVolume, maxHeadBytes } from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type Directory, namesIn, openIfThere } from "../directory.ts";
import { RefusalError, systemCode } from "../errors.ts";
import { readWhole } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { type Found, type Say, sayTo } from "./found.ts";

/** A container that is in no index that counts. */
export interface OldContainer {
  readonly volume: HeadVolume;
  readonly container: Container;
}

export interface History {
  /** What is wrong with older heads and indexes. */
  readonly found: readonly Found[];
  /** Digest by which a head that is there names `index.N`, or `archive.N`. */
  indexDigest(volume: VolumeId, generation: Generation): Digest | undefined;
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

interface OldIndex {
  readonly volume: HeadVolume;
  readonly generation: Generation;
}

async function readHistory(archive: Archive, onBytes: (bytes: number) => void): Promise<History> {
  const head = archive.current?.head;
  const trash = archive.trash();
  const found: Found[] = [];
  const say = sayTo((each) => found.push(each));
  const indexes = new Map<string, OldIndex>();
  const archives = new Map<Generation, Digest>();
  if (head !== undefined) {
    archives.set(head.archiveGeneration, head.archiveDigest);
    for await (const old of olderHeads(archive, head, say, onBytes)) {
      archives.set(old.archiveGeneration, old.archiveDigest);
      for (const volume of old.volumes) {
        const key = `${toHex(volume.volume)} ${volume.indexGeneration}`;
        if (!indexes.has(key)) indexes.set(key, { volume, generation: volume.indexGeneration });
      }
    }
  }
  const digests = new Map<string, Digest>();
  const containers = new Map<string, OldContainer>();
  for (const { volume, generation } of indexes.values()) {
    const id = toHex(volume.volume);
    const now = archive.volume(volume.volume);
    if (now?.indexGeneration === generation) continue;
    const [state, read] = readIndex(archive.root, volume, onBytes);
    // A volume that was removed has taken its indexes with it.
    const mayBeGone = now === undefined || trash.unreadable || trash.isDeadIndex(volume.volume, generation);
    if (state === "corrupt" || (state === "missing" && !mayBeGone))
      say(
        `${volume.directory}/${indexFile(generation)}`,
        "index",
        state === "corrupt" ? "stale" : "missing",
        {
          number: generation,
          volume: volume.volume,
        },
      );
    const current = now === undefined ? new Set<string>() : uidsOf(archive, now);
    for (const container of read) {
      const key = id + toHex(container.uid);
      if (!trash.touches(id, toHex(container.uid))) continue;
      digests.set(`${key} list ${container.listGeneration}`, container.listDigest);
      digests.set(`${key} manifest ${container.manifestGeneration}`, container.manifestDigest);
      if (!current.has(toHex(container.uid)) && !containers.has(key))
        containers.set(key, { volume, container });
    }
    await nextTurn();
  }
  return {
    found,
    indexDigest: (volume, generation) => indexes.get(`${toHex(volume)} ${generation}`)?.volume.indexDigest,
    archiveDigest: (generation) => archives.get(generation),
    fileDigest: (volume, container, kind, generation) =>
      digests.get(`${toHex(volume)}${toHex(container)} ${kind} ${generation}`),
    containers: [...containers.values()],
  };
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
  return orDamaged(() => {
    const bytes = readWhole(heads, String(generation), maxHeadBytes);
    if (bytes === undefined) return "gone";
    onBytes(bytes.length);
    const archive = current?.head.archive;
    return decodeHead(bytes, { generation, ...(archive === undefined ? {} : { archive }) });
  });
}

function readIndex(
  root: Directory,
  { volume, directory: name, indexGeneration: generation, indexDigest }: HeadVolume,
  onBytes: (bytes: number) => void,
): readonly ["whole" | "missing" | "corrupt", readonly Container[]] {
  const found = orDamaged(() => {
    using directory = openIfThere(root, name);
    const bytes = directory && readWhole(directory, indexFile(generation), maxIndexBytes);
    if (bytes === undefined) return "gone";
    onBytes(bytes.length);
    if (!equalBytes(fileDigest(bytes), indexDigest)) return undefined;
    return containersOf(bytes, { volume, generation });
  });
  if (found === "gone") return ["missing", []];
  return found === undefined ? ["corrupt", []] : ["whole", found];
}

/** undefined where what is read is damaged. */
function orDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError || error instanceof RefusalError || systemCode(error) === "EIO")
      return undefined;
    throw error;
  }
}

/** Containers of the newest index, by hexadecimal uid; none where it is damaged. */
function uidsOf(archive: Archive, volume: HeadVolume): ReadonlySet<string> {
  const containers = orDamaged(() => archive.containers(volume)) ?? [];
  return new Set(containers.map(({ uid }) => toHex(uid)));
}
