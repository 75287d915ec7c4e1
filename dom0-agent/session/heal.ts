// Behind a send that may have put lost chunks back: the sessions that refer to the lost ones are made whole, by what is
// stored anew or was there already. Other commands at work put that off to the next send.

import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { putBackText } from "../heal/lost-text.ts";
import { type FoundCopies, findCopies, healGroup } from "../heal/heal-group.ts";
import { lostPlaces } from "../state/lost-places.ts";
import { oldHeads } from "../prune/old-heads.ts";
import { lockForRemoval, takeArchiveLock } from "../state/lock.ts";
import { type LostChunk, readLost, writeLost } from "../state/lost-chunks.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { readView, type ViewedVolume } from "../archive/archive-view.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { openGroupIndex, placeOf } from "../archive/group-index.ts";
import { sweepOrWarn } from "../archive/sweep.ts";

/** Heals what can be healed of an archive. `integrity` where what is damaged does not let that be done. */
export async function healAfterSend(context: Context, settings: ArchiveSettings): Promise<ExitReason> {
  const paths = context.state.archive(settings.name);
  const warn = (message: string): void => context.report.warn(message);
  if (readLost(paths, warn).length === 0) return "done";
  try {
    using _lock = await takeArchiveLock(paths.lock, `heal ${settings.name}`);
    using _readers = await lockForRemoval(paths, `heal ${settings.name}`);
    await heal(context, settings, readLost(paths, warn));
    return "done";
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (error.reason === "locked") {
      warn(`${error.message}; the next send makes sessions whole by what was put back`);
      return "done";
    }
    if (error.reason !== "integrity") throw error;
    warn(`sessions that refer to lost chunks stay as they are: ${error.message}; run check`);
    return "integrity";
  }
}

interface Group extends FoundCopies {
  readonly volumes: readonly ViewedVolume[];
  readonly lost: readonly LostChunk[];
}

async function heal(context: Context, settings: ArchiveSettings, noted: readonly LostChunk[]): Promise<void> {
  const reading = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (reading === undefined) return;
  await using reader = reading.client;
  const groups = await healable(context, reading, noted);
  await reader.close();
  if (groups.length === 0) return;
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  if (open === undefined) return;
  await using _client = open.client;
  // Another host has changed it: the next send looks again.
  if (!equalBytes(open.headDigest, reading.headDigest)) return;
  let left = noted;
  for (const { volumes, lost, needed, copies } of groups) {
    const { signal } = context;
    const older = await oldHeads(open);
    if (copies.count > 0) await healGroup({ open, volumes, copies, removed: new Set(), older, signal });
    const hasCopy = (each: LostChunk): boolean => copies.in(each)?.has(each.address) === true;
    const still = needed.filter((each) => !hasCopy(each));
    const settled = new Set(lost).difference(new Set(still));
    left = left.filter((each) => !settled.has(each));
    writeLost(open.paths, left);
    if (copies.count === 0) continue;
    const { message, fields } = putBackText(volumes, needed.filter(hasCopy), still);
    const where = context.settings.archives.length > 1 ? `, ${settings.name}` : "";
    context.report.notice(`${message}${where}`, { archive: settings.name, ...fields });
  }
  await sweepOrWarn(context.report, open);
}

/** The groups in which there is a copy of anything that is lost. Throws AgentError `integrity` where it can't be said what
 *  needs that. */
async function healable(
  context: Context,
  open: OpenArchive,
  noted: readonly LostChunk[],
): Promise<readonly Group[]> {
  const found: Group[] = [];
  let view: readonly ViewedVolume[] | undefined;
  for (const [key, lost] of Map.groupBy(noted, (each) => toHex(each.group))) {
    const [first] = lost;
    if (first === undefined) continue;
    const places = lostPlaces(lost);
    using index = await openGroupIndex(open, first.group, () => undefined, places);
    if (!lost.some(({ id }) => placeOf(index, id) !== undefined)) continue;
    view ??= await readView(open);
    const volumes = view.filter((each) => toHex(each.index.group) === key);
    const copies = await findCopies(open, volumes, places, context.signal);
    if (copies.unread !== undefined) throw copies.unread;
    found.push({ volumes, lost, ...copies });
  }
  return found;
}
