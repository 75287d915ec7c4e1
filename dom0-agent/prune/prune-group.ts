// Removing sessions from the volumes of one group: which manifests change, which chunks nobody refers to any more,
// and the steps that commit it. Chunks are counted over all volumes of the group, because a chunk stays where it was
// first written, whoever refers to it (design section 7).

import { rmSync } from "node:fs";
import { toHex } from "../../protocol/bytes.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import { commitStep, nextGeneration, type Step, type StepFile } from "../archive/commit-step.ts";
import type { StepNote } from "../state/archive-record.ts";
import { type Changes, deadList, volumeAfter } from "./after-prune.ts";
import { type Fate, fateOf } from "./fate.ts";
import { forgetDead } from "./forget-dead.ts";
import { type Freed, nothingFreed } from "./freed.ts";
import type { OldHeads } from "./old-heads.ts";
import { type GroupOptions, type GroupScan, scanGroup } from "./scan-group.ts";

/** By hexadecimal volume id. */
export type FreedByVolume = ReadonlyMap<string, Freed>;

export interface PruneOptions extends GroupOptions {
  readonly note: StepNote;
  /** Held while a step is committed. */
  readonly hold?: Step["hold"];
  /** Older heads, which go with the first step. */
  readonly older?: OldHeads | undefined;
  /** Runs of dead chunks that one step names at most, so that its list stays small. */
  readonly maxRuns?: number;
  /** Hears before a step whether another one has to follow it, and behind the last. */
  readonly onUnfinished?: (unfinished: boolean) => void;
}

const mostRuns = 250_000;

/** What removing the sessions would free. Changes nothing. */
export async function measureGroup(on: GroupOptions): Promise<FreedByVolume> {
  using scan = await scanGroup(on);
  const freed = new Map<string, Freed>();
  for (let number = 0; number < scan.containers.count; number++) {
    on.signal.throwIfAborted();
    const fate = await fateOf(on, scan, number, scan.containers.at(number).container, "measure");
    if (fate !== undefined) addFreed(freed, scan, fate);
    rmSync(`${on.scratch}/list-${number}`, { force: true });
  }
  return freed;
}

/** Removes the sessions, in as many steps as it takes. Gives what comes free once the dead lists are carried out. */
export async function pruneGroup(on: PruneOptions): Promise<FreedByVolume> {
  using scan = await scanGroup(on);
  const freed = new Map<string, Freed>();
  let volumes = on.volumes;
  let manifests = scan.manifests;
  let { older } = on;
  let next = 0;
  let first = true;
  while (first || next < scan.containers.count) {
    const batch = await nextBatch(on, scan, volumes, next);
    next = batch.next;
    // Only the first step removes sessions; a later one may have found nothing left to do.
    if (!first && batch.fates.size === 0) break;
    const unfinished = next < scan.containers.count;
    if (unfinished) on.onUnfinished?.(true);
    const changes: Changes = {
      generation: nextGeneration(on.open),
      removed: on.removed,
      fates: batch.fates,
      manifests: new Map(manifests.map((each) => [toHex(each.session), each])),
    };
    const before = on.open.head;
    await commitBatch(on, volumes, changes, older);
    for (const fate of batch.fates.values()) addFreed(freed, scan, fate);
    volumes = volumes.flatMap((each) => volumeAfter(each, changes) ?? []);
    const indexes = volumes.map(({ index }) => index);
    const [group] = on.volumes.map(({ index }) => index.group);
    if (group !== undefined) await forgetDead(on.open, group, before, indexes, batch.fates);
    manifests = [];
    older = undefined;
    first = false;
  }
  on.onUnfinished?.(false);
  return freed;
}

/** The fates of as many containers, from number `from` on, as one dead list takes. */
async function nextBatch(
  on: PruneOptions,
  scan: GroupScan,
  volumes: readonly ViewedVolume[],
  from: number,
): Promise<{ readonly fates: ReadonlyMap<string, Fate>; readonly next: number }> {
  const fates = new Map<string, Fate>();
  // As earlier steps have left them.
  const current = new Map(
    volumes.flatMap(({ index }) => index.containers.map((each) => [toHex(each.uid), each])),
  );
  let runs = on.maxRuns ?? mostRuns;
  for (let number = from; number < scan.containers.count; number++) {
    on.signal.throwIfAborted();
    const container = current.get(toHex(scan.containers.at(number).container.uid));
    if (runs <= 0) return { fates, next: number };
    const fate = container && (await fateOf(on, scan, number, container, runs));
    if (container === undefined || fate === undefined) continue;
    fates.set(toHex(container.uid), fate);
    runs -= fate.runs.length;
    if (fate.more) return { fates, next: number };
  }
  return { fates, next: scan.containers.count };
}

async function commitBatch(
  on: PruneOptions,
  volumes: readonly ViewedVolume[],
  changes: Changes,
  older: OldHeads | undefined,
): Promise<void> {
  const after = volumes.map((each) => volumeAfter(each, changes));
  const lists = [...changes.fates.values()].flatMap(({ list }): readonly StepFile[] => (list ? [list] : []));
  await commitStep(on.open, {
    note: on.note,
    hold: on.hold,
    indexes: after.flatMap((each, i) => (each === undefined || each === volumes[i] ? [] : [each])),
    removed: volumes.filter((_, i) => after[i] === undefined).map(({ index }) => index.volume),
    files: [...changes.manifests.values(), ...lists],
    dead: deadList(on.open, volumes, after, changes.fates, older),
  });
}

function addFreed(freed: Map<string, Freed>, scan: GroupScan, { number, chunks, bytes, after }: Fate): void {
  const { volume, container } = scan.containers.at(number);
  const key = toHex(volume.index.volume);
  const before = freed.get(key) ?? nothingFreed;
  freed.set(key, {
    chunks: before.chunks + chunks,
    bytes: before.bytes + bytes,
    inTars: before.inTars + (after !== undefined && container.form === "tar" ? bytes : 0),
  });
}
