// prune: sessions go by name, by date or by retention; what nobody refers to any more comes free (design section 7).
// One group of volumes after the other: what is wrong with one doesn't stop the others. The archive was looked at once,
// and the receiver's lock goes with a connection: where another host has committed before the next one, all stops.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Service } from "../../protocol/wire/messages.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import {
  checkRequest,
  type ChosenSession,
  chooseSessions,
  type PruneRequest,
} from "../prune/choose-sessions.ts";
import { oldHeads } from "../prune/old-heads.ts";
import { comesFree, type Freed, nothingFreed } from "../prune/freed.ts";
import { type FreedByVolume, measureGroup, pruneGroup } from "../prune/prune-group.ts";
import { lockForReading, lockForRemoval, takeArchiveLock } from "../state/lock.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { noteUnfinished, unfinishedGroups } from "../state/unfinished-prune.ts";
import { TransportError } from "../transport/transport.ts";
import { type OpenArchive, where } from "../archive/archive.ts";
import { chooseInArchive, readView, type Selection, type ViewedVolume } from "../archive/archive-view.ts";
import { RefusedError } from "../archive/refused-error.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { punchesHoles, sweep, type Swept } from "../archive/sweep.ts";
import { isDamage } from "../archive/read-or-copy.ts";
import { makeDirectory } from "../state/writing.ts";

/** What a prune did, or would do, to a volume. */
export interface PrunedVolume {
  readonly volume: string;
  /** In the order of their sequence; empty for a volume that only shares chunks with those that were pruned. */
  readonly sessions: readonly ChosenSession[];
  readonly freed: Freed;
  readonly error?: Error;
}

export interface PruneResult {
  /** Without those that the prune has not come to. */
  readonly volumes: readonly PrunedVolume[];
  /** What has come free by now, or why that could not be had; undefined for a dry run, and where it was stopped. */
  readonly swept: Swept | Error | undefined;
  /** Bytes that no session needs, and that do not come free: they lie in tar files that stay, on a file system that can't
   *  give back parts of a file. */
  readonly stuckBytes: number;
  /** What it did not get past: the volumes of other groups are not pruned. */
  readonly stopped: unknown;
}

/** Prunes the volumes of a selection. With `dryRun` nothing is changed, and no lock taken. Throws only where
 *  nothing was changed. */
export async function prune(
  context: Context,
  settings: ArchiveSettings,
  selection: Selection,
  request: PruneRequest,
  dryRun: boolean,
): Promise<PruneResult> {
  checkRequest(request);
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = dryRun ? undefined : await takeArchiveLock(paths.lock, `prune ${settings.name}`);
  using _readers = dryRun
    ? await lockForReading(paths, "prune --dry-run")
    : await lockForRemoval(paths, `prune ${settings.name}`);
  if (!dryRun) dropSpools(paths);
  await using archive = openedArchive(context, settings, dryRun ? "sparsebak.Receive" : "sparsebak.Prune");
  const open = await archive.get();
  const view = await readView(open);
  const plans = planned(chooseInArchive(view, selection, "prune"), request);
  const todo = new Set(dryRun ? [] : unfinishedGroups(paths));
  for (const [volume, sessions] of plans)
    if (sessions.some((each) => each.goes)) todo.add(toHex(volume.index.group));
  const punches = dryRun || punchesHoles(open.client);
  const freed = new Map<string, Freed>();
  const failed = new Map<string, Error>();
  const left = new Set(todo);
  let older = dryRun || todo.size === 0 ? undefined : await oldHeads(open);
  // Of the head that `view` is right for: other groups' steps leave a group's volumes as they were.
  let { headDigest } = open;
  const pruneOne = async (group: string): Promise<void> => {
    const volumes = view.filter(({ index }) => toHex(index.group) === group);
    const current = await archive.get();
    if (!equalBytes(current.headDigest, headDigest)) throw changed();
    try {
      const on = {
        open: current,
        volumes,
        removed: removedUids(volumes, plans),
        scratch: dryRun ? `${paths.prune}-${process.pid}` : paths.prune,
        signal: context.signal,
      };
      const note = { what: "prune" } as const;
      const onUnfinished = (unfinished: boolean): void => noteUnfinished(paths, group, unfinished);
      const done = dryRun ? await measureGroup(on) : await pruneGroup({ ...on, note, older, onUnfinished });
      older = undefined;
      for (const [key, each] of done) freed.set(key, each);
    } catch (error) {
      // The connection may be in the middle of something: the next group gets a new one.
      await archive.drop();
      if (stopsAll(error, context.signal)) throw error;
      failed.set(group, error as Error);
    }
    headDigest = current.headDigest;
    left.delete(group);
  };
  let stopped: unknown;
  try {
    for (const group of todo) await pruneOne(group);
  } catch (error) {
    if (left.size === todo.size) throw error;
    stopped = error;
  }
  const reached = view.filter(({ index }) => !left.has(toHex(index.group)));
  const all = results(reached, plans, freed, failed);
  const stuckBytes = punches ? 0 : all.reduce((sum, each) => sum + each.freed.inTars, 0);
  const volumes = all.map((each) => ({ ...each, freed: comesFree(each.freed, punches) }));
  const swept = dryRun || stopped !== undefined ? undefined : await sweptNow(archive);
  return { volumes, swept, stuckBytes, stopped };
}

/** What was removed counts, whatever becomes of this. */
async function sweptNow(archive: { readonly get: () => Promise<OpenArchive> }): Promise<Swept | Error> {
  try {
    return await sweep(await archive.get());
  } catch (error) {
    return error as Error;
  }
}

/** Removes what prunes that were killed have left: those of the lock's holders, and dry runs by their process. */
function dropSpools(paths: ArchivePaths): void {
  const own = basename(paths.prune);
  for (const name of readdirSync(paths.directory)) {
    const [base, pid] = name.split("-");
    if (base !== own || (pid !== undefined && existsSync(`/proc/${pid}`))) continue;
    rmSync(join(paths.directory, name), { recursive: true, force: true });
  }
}

type Plans = ReadonlyMap<ViewedVolume, readonly ChosenSession[]>;

/** What becomes of every session of the volumes. Throws AgentError where a session that is named is nowhere. */
function planned(volumes: readonly ViewedVolume[], request: PruneRequest): Plans {
  const plans = new Map(volumes.map((each) => [each, chooseSessions(each.index, request)]));
  const names = new Set([...plans.values()].flatMap((each) => each.map(({ name }) => name)));
  const missing = request.sessions.find(({ from, to }) => from === to && !names.has(from));
  if (missing !== undefined)
    throw new AgentError("failed", `prune: there is no session ${missing.from}`, "see sparsebak list VOLUME");
  return plans;
}

function removedUids(volumes: readonly ViewedVolume[], plans: Plans): ReadonlySet<string> {
  const chosen = volumes.flatMap((each) => plans.get(each) ?? []);
  return new Set(chosen.filter((each) => each.goes).map((each) => toHex(each.session.uid)));
}

/** `failed` is by group. */
function results(
  view: readonly ViewedVolume[],
  plans: Plans,
  freed: FreedByVolume,
  failed: ReadonlyMap<string, Error>,
): readonly PrunedVolume[] {
  const ofVolumes = view.flatMap((volume): readonly PrunedVolume[] => {
    const { index } = volume;
    const sessions = plans.get(volume) ?? [];
    const free = freed.get(toHex(index.volume)) ?? nothingFreed;
    const error = failed.get(toHex(index.group));
    const result = { volume: index.name, sessions, freed: free };
    if (error !== undefined) return [{ ...result, error }];
    return sessions.length === 0 && free.bytes === 0 ? [] : [result];
  });
  // Its last volume may be gone from the archive since its prune was cut short.
  const named = new Set(view.map(({ index }) => toHex(index.group)));
  const nameless = [...failed].filter(([group]) => !named.has(group));
  return [
    ...ofVolumes,
    ...nameless.map(([group, error]) => ({
      volume: `group ${group}`,
      sessions: [],
      freed: nothingFreed,
      error,
    })),
  ];
}

/** A connection that is opened when it is needed, and again after it was dropped. */
function openedArchive(
  context: Context,
  settings: ArchiveSettings,
  service: Service,
): AsyncDisposable & { readonly get: () => Promise<OpenArchive>; readonly drop: () => Promise<void> } {
  let open: OpenArchive | undefined;
  const drop = async (): Promise<void> => {
    await open?.client[Symbol.asyncDispose]();
    open = undefined;
  };
  return {
    get: async () => {
      open ??= await openDestination(context, settings, service, async () => false);
      if (open === undefined)
        throw new AgentError("failed", `prune: there is no archive at ${where(settings)}`, "send makes one");
      return open;
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

function changed(): AgentError {
  return new AgentError("failed", "prune: the archive has changed meanwhile", "run it again");
}

/** What no other group can get past: a destination that is gone or refuses, an archive in another state, a signal. */
function stopsAll(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof TransportError) return true;
  if (error instanceof RefusedError) return !isDamage(error);
  return error instanceof AgentError && error.reason !== "failed" && error.reason !== "integrity";
}
