// The volumes of a group as they are after one step of a prune, and the list of what that step no longer needs.

import type { DeadContainer, DeadFile, DeadVolume } from "../../protocol/archive/dead-file.ts";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import type { StepFile } from "../archive/commit-step.ts";
import { type Fate, withoutSession } from "./fate.ts";
import type { OldHeads } from "./old-heads.ts";

/** What a step changes, by hexadecimal uid of the containers. */
export interface Changes {
  readonly generation: Generation;
  /** Sessions that go. */
  readonly removed: ReadonlySet<string>;
  readonly fates: ReadonlyMap<string, Fate>;
  readonly manifests: ReadonlyMap<string, StepFile>;
}

/** The volume after the step: the same object where nothing of it changes, undefined where nothing is left of it. */
export function volumeAfter(volume: ViewedVolume, changes: Changes): ViewedVolume | undefined {
  const { index } = volume;
  const sessions = index.sessions.filter((each) => !changes.removed.has(toHex(each.uid)));
  const containers = index.containers.flatMap((each) => containerAfter(each, changes) ?? []);
  if (containers.length === 0) return undefined;
  const same =
    sessions.length === index.sessions.length &&
    containers.length === index.containers.length &&
    containers.every((each, i) => each === index.containers[i]);
  return same
    ? volume
    : { ...volume, index: { ...index, generation: changes.generation, containers, sessions } };
}

function containerAfter(container: Container, changes: Changes): Container | undefined {
  const uid = toHex(container.uid);
  const fate = changes.fates.get(uid);
  if (fate !== undefined && fate.after === undefined) return undefined;
  // One whose turn comes in a later step has lost its session already.
  const lost = changes.removed.has(uid) && container.manifestGeneration !== 0;
  const now = fate?.after ?? (lost ? withoutSession(container) : container);
  const manifest = changes.manifests.get(uid);
  if (manifest === undefined) return now;
  return { ...now, manifestGeneration: changes.generation, manifestDigest: manifest.digest };
}

/** What the step from `before` to `after` no longer needs; `older` are heads and indexes that go with it. */
export function deadList(
  open: OpenArchive,
  before: readonly ViewedVolume[],
  after: readonly (ViewedVolume | undefined)[],
  fates: ReadonlyMap<string, Fate>,
  older: OldHeads | undefined,
): Omit<DeadFile, "archive" | "generation" | "createdAt"> {
  const changed = before.map(({ directory, index }, i): DeadVolume => {
    const now = after[i]?.index;
    const of = { volume: index.volume, directory };
    if (now === undefined) return { ...of, removed: true, indexes: [], containers: [] };
    const indexes = older?.indexes.get(toHex(index.volume)) ?? [];
    return { ...of, removed: false, indexes, containers: deadContainers(index, now, fates) };
  });
  const inGroup = new Set(before.map(({ index }) => toHex(index.volume)));
  const others = open.head.volumes
    .filter((each) => !inGroup.has(toHex(each.volume)))
    .map(({ volume, directory }): DeadVolume => {
      const indexes = older?.indexes.get(toHex(volume)) ?? [];
      return { volume, directory, removed: false, indexes, containers: [] };
    });
  const volumes = [...changed, ...others]
    .filter((each) => each.removed || each.indexes.length + each.containers.length > 0)
    .sort((a, b) => Buffer.compare(a.volume, b.volume));
  return { volumes, headsBelow: older?.headsBelow ?? (0 as Generation), archives: [] };
}

function deadContainers(
  before: VolumeIndex,
  after: VolumeIndex,
  fates: ReadonlyMap<string, Fate>,
): readonly DeadContainer[] {
  const later = new Map(after.containers.map((each) => [toHex(each.uid), each]));
  return before.containers.flatMap((each): readonly DeadContainer[] => {
    const { uid, name, form } = each;
    const now = later.get(toHex(uid));
    if (now === undefined) return [{ uid, name, form, whole: true, manifests: [], lists: [], chunks: [] }];
    const manifests = superseded(each.manifestGeneration, now.manifestGeneration);
    const lists = superseded(each.listGeneration, now.listGeneration);
    const chunks = fates.get(toHex(uid))?.runs ?? [];
    if (manifests.length + lists.length + chunks.length === 0) return [];
    return [{ uid, name, form, whole: false, manifests, lists, chunks }];
  });
}

function superseded(before: Generation, after: Generation): readonly Generation[] {
  return before === after ? [] : [before];
}
