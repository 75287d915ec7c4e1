// Lists that are missing, damaged or wrong, made again from what the manifests of the group say of their containers.
// Chunks that no session needs are not in the new list. A list that is made again is in memory as a whole, some 150 bytes
// a chunk; this is for repairing only.

import type { DeadVolume } from "../../protocol/archive/dead-file.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import { listBuilder, type ListEntry } from "../../protocol/archive/list-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress, Generation } from "../../protocol/archive/types.ts";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { commitStep, nextGeneration, type StepFile } from "../archive/commit-step.ts";
import { fetchManifest } from "../archive/fetch-manifest.ts";
import { allSessions } from "../restore/find-session.ts";
import type { LostPlaces } from "../state/lost-places.ts";
import type { CheckedVolume } from "./check-group.ts";
import type { ContainerHealth } from "./container-health.ts";
import type { ArchivedVolume } from "./archived-volume.ts";

interface Rebuilt {
  readonly health: ContainerHealth;
  readonly chunks: Map<ChunkAddress, ListEntry>;
}

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
      broken.set(keyOf(ref), { health, chunks: new Map() });
    }
  }
  if (broken.size === 0) return volumes;
  for (const volume of volumes) await gather(open, volume, broken, removed, kept);
  for (const [key, { health, chunks }] of broken) {
    const { index } = health.volume;
    const stays = index.sessions.some(
      ({ uid }) => equalBytes(uid, health.container.uid) && !removed.has(toHex(uid)),
    );
    if (!stays && chunks.size === 0) broken.delete(key);
  }
  if (broken.size === 0) return volumes;
  const generation = nextGeneration(open);
  const files: StepFile[] = [];
  const dead: DeadVolume[] = [];
  const after = volumes.map((volume): ArchivedVolume => {
    const { directory, index } = volume;
    const changed: Container[] = [];
    const containers = index.containers.map((container) => {
      const found = broken.get(keyOf({ volume: index.volume, session: container.uid }));
      if (found === undefined) return container;
      changed.push(container);
      const { file, now } = newList(volume, container, found, generation);
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

/** Reads what the volume's manifests say of the broken containers, up to that of the last session that stays: all of
 *  these can be read, for a lost manifest costs every session behind it. */
async function gather(
  open: OpenArchive,
  { index }: ArchivedVolume,
  broken: ReadonlyMap<string, Rebuilt>,
  removed: ReadonlySet<string>,
  kept: LostPlaces,
): Promise<void> {
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
      of.chunks.set(address, { address, storedLength, checksum: checksum.slice() as typeof checksum });
    }
  }
}

function newList(
  { index }: ArchivedVolume,
  container: Container,
  { chunks: entries }: Rebuilt,
  generation: Generation,
): { readonly file: StepFile; readonly now: Container } {
  const of = { archive: index.archive, volume: index.volume, session: container.uid };
  const builder = listBuilder({ ...of, generation });
  const records = [...entries.values()]
    .sort((a, b) => a.address - b.address)
    .map((each) => builder.add(each));
  const { tail, digest, chunks, bytes: storedBytes } = builder.finish();
  const bytes = concatBytes([builder.head, ...records, tail]);
  const { volume, session } = of;
  return {
    file: { kind: "list", volume, session, length: bytes.length, digest, parts: () => [bytes] },
    now: { ...container, listGeneration: generation, listDigest: digest, chunks, storedBytes },
  };
}

function keyOf({ volume, session }: ContainerRef): string {
  return toHex(volume) + toHex(session);
}
