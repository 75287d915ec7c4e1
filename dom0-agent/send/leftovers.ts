// Sessions that were never committed: which of them a send can go on with, and what goes.

import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { Pending } from "../../protocol/wire/messages.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { isTemporary, temporaryOf } from "../state/atomic-file.ts";
import { journalIdentity } from "../state/journal.ts";
import { indexesDirectory, journalPrefix, salvagedPrefix, type VolumePaths } from "../state/layout.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { RefusedError } from "../archive/refused-error.ts";
import type { Context } from "../context.ts";

/**
 * What the receiver lists, without what is of no use: leftovers that dom0 has no journal of, and those of volumes that
 * are gone from this machine are discarded, and said. The others are kept until their volume is sent. Journals of
 * sessions that are no leftovers any more go as well, and what else a send that was killed has left in dom0.
 */
export async function usableLeftovers(context: Context, open: OpenArchive): Promise<readonly Pending[]> {
  const byKey = new Map<string, Pending>();
  // One session may have left several things, which go together.
  for (const each of await open.client.listPending())
    byKey.set(`${each.directory} ${toHex(each.session)}`, each);
  const pending = [...byKey.values()];
  for (const known of open.record.volumes) {
    const live = pending.filter((each) => each.directory === known.directory);
    dropStrays(open.paths.volume(known.id), new Set(live.map((each) => toHex(each.session))));
  }
  dropTemporaries(open.paths.directory);
  dropTemporaries(open.paths.headers);
  tidyGroups(open);
  if (pending.length === 0) return [];
  const names = open.record.volumes.map((each) => each.name);
  const here = (await context.storage.survey(names)).volumes;
  const kept: Pending[] = [];
  for (const each of pending) {
    const known = open.record.volumes.find((volume) => volume.directory === each.directory);
    const journal = known && journalIdentity(open.paths.volume(known.id).journal(each.session));
    if (known !== undefined && journal !== undefined && here.has(known.name)) {
      kept.push(each);
      continue;
    }
    const why =
      known !== undefined && !here.has(known.name) ? "of a volume that is gone" : "of an earlier run";
    context.report.notice(`${each.directory}/${each.name}: an unfinished session ${why} is removed`);
    await discardLeftover(open, each);
  }
  return kept;
}

/** Removes an uncommitted session, and dom0's journal of it. One that this run has removed already is gone. Throws
 *  RefusedError. */
export async function discardLeftover(
  open: OpenArchive,
  { directory, session }: Pick<Pending, "directory" | "session">,
): Promise<void> {
  try {
    await open.client.ask("discard", { directory, session });
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code !== "missing") throw error;
  }
  const known = open.record.volumes.find((each) => each.directory === directory);
  if (known !== undefined) rmSync(open.paths.volume(known.id).journal(session), { force: true });
}

/** A session of the volume is committed, with its index: what of `sessions` that index does not name is removed, and
 *  no journal of them is needed any more. What can't be removed now is a leftover of the next send. */
export async function settleLeftovers(
  open: OpenArchive,
  known: KnownVolume,
  index: VolumeIndex,
  sessions: readonly SessionUid[],
  warn: (message: string) => void,
): Promise<void> {
  const { directory } = known;
  try {
    for (const session of sessions) {
      if (containerOf(index, session) === undefined) await discardLeftover(open, { directory, session });
      else rmSync(open.paths.volume(known.id).journal(session), { force: true });
    }
  } catch (error) {
    warn(`${known.name}: remove what an interrupted send has left: ${(error as Error).message}`);
  }
}

/** Makes room: removes everything that was never committed. Gives how many sessions that were. */
export async function discardAll(open: OpenArchive): Promise<number> {
  const pending = await open.client.listPending();
  for (const each of pending) await discardLeftover(open, each);
  return pending.length;
}

/** The leftovers of one volume. */
export function leftoversOf(known: KnownVolume, leftovers: readonly Pending[]): readonly Pending[] {
  return leftovers.filter((each) => each.directory === known.directory);
}

/** Files of a send that was cut short; nobody else is sending to this archive now. */
function dropStrays(paths: VolumePaths, live: ReadonlySet<string>): void {
  for (const name of namesIn(paths.directory)) {
    const of = name.startsWith(journalPrefix) ? name.slice(journalPrefix.length) : undefined;
    const isStray = of === undefined ? isWorkFile(name) : !live.has(of);
    if (isStray) rmSync(join(paths.directory, name), { force: true });
  }
}

/** What is only used as long as a send runs. A delta map may be being written just now: monitors need no archive. */
function isWorkFile(name: string): boolean {
  if (isTemporary(name)) return name !== temporaryOf("delta");
  return (
    name === "entries" || name === "entries.fetched" || name === "fresh" || name.startsWith(salvagedPrefix)
  );
}

/** Removes indexes of groups that no volume is in any more, and half-written files of the others. */
function tidyGroups(open: OpenArchive): void {
  const directory = join(open.paths.directory, indexesDirectory);
  const live = new Set(open.record.volumes.map((each) => toHex(each.group)));
  for (const name of namesIn(directory)) {
    if (live.has(name)) dropTemporaries(join(directory, name));
    else rmSync(join(directory, name), { recursive: true, force: true });
  }
}

function dropTemporaries(directory: string): void {
  for (const name of namesIn(directory)) if (isTemporary(name)) rmSync(join(directory, name));
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
