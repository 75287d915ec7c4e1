// check: the whole archive against its own lists, and what each damage costs.

import type { Digest } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { type LostVolume, readVolumes } from "../check/archived-volume.ts";
import { type CheckedVolume, checkGroup } from "../check/check-group.ts";
import { checkRest, type Rest } from "../check/rest.ts";
import { checkCopies, type DamagedCopy } from "../check/copies.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { amountText } from "../heal/lost-text.ts";
import { lostPlaces } from "../state/lost-places.ts";
import { lockForReading, tryLock } from "../state/lock.ts";
import { readLost } from "../state/lost-chunks.ts";
import { type OpenArchive, where } from "../archive/archive.ts";
import { reportLost, reportRest, reportVolume } from "./check-report.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { noteLost } from "./note-lost.ts";

export interface CheckOptions {
  /** dom0 fetches every chunk and checks it itself. */
  readonly readData: boolean;
}

/** What a check has found. */
export interface Checked {
  /** Of the head that was checked. */
  readonly headDigest: Digest;
  readonly groups: readonly CheckedGroup[];
  /** Volumes whose index can't be read. */
  readonly lost: readonly LostVolume[];
  /** Everything that is in no container. */
  readonly rest: Rest;
  /** The head, indexes and second copies that are damaged. */
  readonly copies: readonly DamagedCopy[];
}

export interface CheckedGroup {
  readonly group: string;
  readonly volumes: readonly CheckedVolume[];
}

/** Checks an archive and reports every volume. `integrity` where anything is damaged. */
export async function check(
  context: Context,
  settings: ArchiveSettings,
  options: CheckOptions,
): Promise<ExitReason> {
  using _readers = await lockForReading(context.state.archive(settings.name), "check");
  const { reason, checked } = await checkArchive(context, settings, options);
  using lock = await tryLock(context.state.archive(settings.name).lock);
  const lost = noteLost(context, settings, checked, lock);
  if (lost.length > 0)
    context.report.notice(
      `lost: ${amountText(lost)}; a send puts back what the volumes still hold: send, then check again`,
      { lostChunks: lost.length },
    );
  return reason;
}

/** The same, with what was found. */
export async function checkArchive(
  context: Context,
  settings: ArchiveSettings,
  { readData }: CheckOptions,
): Promise<{ readonly reason: ExitReason; readonly checked: Checked }> {
  const { report, signal } = context;
  const open = await opened(context, settings);
  await using client = open.client;
  if (open.headerLost !== undefined)
    throw new AgentError(
      "integrity",
      "check: without the archive header the destination can't check the rest",
      "sparsebak check --repair puts it back first",
    );
  const { groups, lost } = await readVolumes(open);
  for (const each of lost) reportLost(context, each);
  let damaged = lost.length > 0;
  const noted = readLost(open.paths, (message) => report.warn(message));
  const suspected = lostPlaces(noted);
  const checked: CheckedGroup[] = [];
  for (const group of groups) {
    const volumes = await checkGroup(
      { open, readData, suspected, onProgress: (...how) => report.progress(...how), signal },
      group,
    );
    checked.push({ group: group.group, volumes });
    for (const each of volumes) damaged = reportVolume(context, each, open.record.chunkSize) || damaged;
  }
  const rest = await checkRest(open);
  const names = new Map(open.record.volumes.map(({ id, name }) => [toHex(id), name]));
  damaged = reportRest(context, rest, names) || damaged;
  const copies = await checkCopies(open);
  for (const { why } of copies.damaged) report.warn(`${why}; check --repair writes it anew`);
  for (const what of copies.uncopied)
    report.notice(
      `${what}: there is no second copy of it; the next command that writes to the archive makes one`,
    );
  damaged = copies.damaged.length > 0 || damaged;
  await client.close();
  if (!readData)
    report.notice(
      "that the stored bytes are there and right is the destination's own word; with --read-data dom0 reads them all",
    );
  if (damaged) await checkUnmoved(context, settings, open);
  return {
    reason: damaged ? "integrity" : "done",
    checked: { headDigest: open.headDigest, groups: checked, lost, rest, copies: copies.damaged },
  };
}

async function opened(context: Context, settings: ArchiveSettings): Promise<OpenArchive> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open !== undefined) return open;
  throw new AgentError("failed", `check: there is no archive at ${where(settings)}`, "send makes one");
}

/** Throws AgentError `failed` where the archive has another head by now: what a prune has removed is no damage. */
async function checkUnmoved(
  context: Context,
  settings: ArchiveSettings,
  { headDigest }: OpenArchive,
): Promise<void> {
  const now = await opened(context, settings);
  await using client = now.client;
  await client.close();
  if (!equalBytes(now.headDigest, headDigest))
    throw new AgentError(
      "failed",
      "check: the archive was changed while it was being checked, so what was found may be no damage",
      "run check again while nothing is sent or pruned",
    );
}
