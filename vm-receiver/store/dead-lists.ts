// dead/N as they lie in the archive: those whose head is there, which are to be carried out some day, and those whose
// head never came. What a list that waits for its day names is not left over from anything: it is kept (design
// section 7; archive-format.md, F33 to F35).

import {
  type ChunkRun,
  type DeadFile,
  decodeDead,
  isInRuns,
  maxDeadBytes,
  type Runs,
} from "../../protocol/archive/dead-file.ts";
import type { ListIdentity } from "../../protocol/archive/list-file.ts";
import { fileNames, parseGeneration } from "../../protocol/archive/names.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionUid,
  VolumeId,
} from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { isDamage } from "../errors.ts";
import { type Directory, namesIn, openIfThere } from "../directory.ts";
import { readWhole } from "../files.ts";

/** Generations of the dead lists that are there, rising. */
export function deadGenerations(root: Directory): readonly Generation[] {
  using dead = openIfThere(root, fileNames.dead);
  const names = dead === undefined ? [] : [...namesIn(dead)];
  return names.flatMap((name) => parseGeneration(name) ?? []).sort((a, b) => a - b);
}

/** Reads `dead/N`; undefined where it is not there. Throws FormatError. */
export function readDead(
  root: Directory,
  archive: ArchiveUuid,
  generation: Generation,
): DeadFile | undefined {
  using dead = openIfThere(root, fileNames.dead);
  const bytes = dead && readWhole(dead, String(generation), maxDeadBytes);
  return bytes && decodeDead(bytes, { archive, generation });
}

/** What waits to be carried out. */
export interface Trash {
  /** True where a list can't be read: it may name anything that was committed once. */
  readonly unreadable: boolean;
  /** True for a session that a dead list keeps until it is due; also where a list that can't be read might. */
  keeps(session: ListIdentity): boolean;
  /** Chunks of a container that are dead and may still be there; where the lists name more runs than are kept, all that a
   *  container has may be. */
  isDeadChunk(volume: VolumeId, container: SessionUid, address: number, chunkSize: number): boolean;
  /** Lists or manifests of a container that are superseded. */
  isDeadFile(
    volume: VolumeId,
    container: SessionUid,
    kind: "list" | "manifest",
    generation: Generation,
  ): boolean;
  /** True where the header of a container waits, because a manifest of it does. */
  isDeadHeader(volume: VolumeId, container: SessionUid): boolean;
  isDeadIndex(volume: VolumeId, generation: Generation): boolean;
  isDeadArchive(generation: Generation): boolean;
  /** Volumes that go with everything in this directory, by hexadecimal id. */
  removedIn(directory: string): readonly string[];
  /** `heads/K` with K below this are dead. */
  readonly headsBelow: number;
  /** True for a volume, by hexadecimal id, of which a list names a container, or all. */
  touchesVolume(volume: string): boolean;
  /** True for a container, by hexadecimal ids, of which a list names anything. */
  touches(volume: string, container: string): boolean;
}

/** Runs that are kept at most, of 12 bytes: as many as one list has at most. There may be any number of lists. */
const maxRuns = 4_194_304;

/** The same runs, in 12 bytes each. */
function compact(runs: readonly ChunkRun[]): Runs {
  const addresses = Float64Array.from(runs, ({ address }) => address);
  const counts = Uint32Array.from(runs, ({ count }) => count);
  return {
    length: runs.length,
    at: (i) => {
      const [address, count] = [addresses[i], counts[i]];
      return address === undefined || count === undefined
        ? undefined
        : { address: address as ChunkAddress, count };
    },
  };
}

/** Reads every dead list up to the current head. */
export function readTrash(
  root: Directory,
  archive: ArchiveUuid,
  current: Generation,
  mostRuns: number = maxRuns,
): Trash {
  const removedVolumes = new Map<string, string>();
  const wholes = new Set<string>();
  /** Of each list those that it has of a container, which rise. */
  const runs = new Map<string, Runs[]>();
  let kept = 0;
  const files = new Set<string>();
  const touched = new Set<string>();
  const touchedVolumes = new Set<string>();
  let headsBelow = 0;
  let unreadable = false;
  const read = (dead: DeadFile): void => {
    headsBelow = Math.max(headsBelow, dead.headsBelow);
    for (const each of dead.archives) files.add(`archive ${each}`);
    for (const each of dead.volumes) {
      const volume = toHex(each.volume);
      if (each.removed) removedVolumes.set(volume, each.directory);
      for (const generation of each.indexes) files.add(`${volume} index ${generation}`);
      for (const { uid, whole, chunks, manifests, lists } of each.containers) {
        const key = volume + toHex(uid);
        touched.add(key);
        touchedVolumes.add(volume);
        if (whole) wholes.add(key);
        else if (chunks.length > 0) {
          kept += chunks.length;
          if (kept > mostRuns) runs.clear();
          else runs.set(key, [...(runs.get(key) ?? []), compact(chunks)]);
        }
        if (manifests.length > 0) files.add(`${key} header`);
        for (const generation of manifests) files.add(`${key} manifest ${generation}`);
        for (const generation of lists) files.add(`${key} list ${generation}`);
      }
    }
  };
  for (const generation of deadGenerations(root)) {
    if (generation > current) continue;
    try {
      const dead = readDead(root, archive, generation);
      if (dead !== undefined) read(dead);
    } catch (error) {
      if (!isDamage(error)) throw error;
      unreadable = true;
    }
  }
  return {
    unreadable,
    headsBelow,
    keeps: ({ volume, session, generation }) => {
      const id = toHex(volume);
      // A list that can't be read may name anything that was committed once.
      if (unreadable && generation <= current) return true;
      return removedVolumes.has(id) || wholes.has(id + toHex(session));
    },
    isDeadChunk: (volume, container, address, chunkSize) => {
      const key = toHex(volume) + toHex(container);
      if (kept > mostRuns) return touched.has(key);
      return (runs.get(key) ?? []).some((each) => isInRuns(each, address, chunkSize));
    },
    isDeadFile: (volume, container, kind, generation) =>
      files.has(`${toHex(volume)}${toHex(container)} ${kind} ${generation}`),
    isDeadHeader: (volume, container) => files.has(`${toHex(volume)}${toHex(container)} header`),
    isDeadIndex: (volume, generation) => files.has(`${toHex(volume)} index ${generation}`),
    isDeadArchive: (generation) => files.has(`archive ${generation}`),
    removedIn: (directory) =>
      [...removedVolumes].filter(([, each]) => each === directory).map(([volume]) => volume),
    touchesVolume: (volume) => removedVolumes.has(volume) || touchedVolumes.has(volume),
    touches: (volume, container) => removedVolumes.has(volume) || touched.has(volume + container),
  };
}
