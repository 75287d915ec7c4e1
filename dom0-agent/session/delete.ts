// delete: a volume goes from the archive with all its sessions, and from dom0's state, and its snapshots with it. Chunks
// of it that other volumes of its group refer to stay, out of sight (design section 7).

import { toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { comesFree, type Freed, nothingFreed } from "../prune/freed.ts";
import { pruneGroup } from "../prune/prune-group.ts";
import { removeVolumeState } from "../state/after-step.ts";
import { readArchiveRecord } from "../state/archive-record.ts";
import { lockForRemoval, takeArchiveLock, takeLock } from "../state/lock.ts";
import { noteUnfinished } from "../state/unfinished-prune.ts";
import { where } from "../archive/archive.ts";
import { chooseInArchive, readView, type Selection } from "../archive/archive-view.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { matchNames } from "../archive/match-names.ts";
import { punchesHoles, sweep } from "../archive/sweep.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { tidyAfterSend } from "../monitor/tidy-after-send.ts";
import { makeDirectory } from "../state/writing.ts";

export interface DeletedVolume {
  readonly volume: string;
  readonly sessions: number;
  readonly freed: Freed;
}

/** The volumes of the archive of a selection, for the question that comes before deleting them. */
export async function volumesToDelete(
  context: Context,
  settings: ArchiveSettings,
  selection: Selection,
): Promise<readonly string[]> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined) throw noArchive(settings);
  await using client = open.client;
  const view = chooseInArchive(await readView(open), selection, "delete");
  await client.close();
  return view.map(({ index }) => index.name);
}

/** Deletes volumes by name, one step each, and gives each when it is done. */
export async function* deleteVolumes(
  context: Context,
  settings: ArchiveSettings,
  names: readonly string[],
): AsyncGenerator<DeletedVolume> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeArchiveLock(paths.lock, `delete from ${settings.name}`);
  using _readers = await lockForRemoval(paths, `delete from ${settings.name}`);
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  if (open === undefined) throw noArchive(settings);
  await using client = open.client;
  const punches = punchesHoles(client);
  for (const name of names) {
    const view = await readView(open);
    const [volume] = chooseInArchive(view, { kind: "named", patterns: [name] }, "delete");
    if (volume === undefined) continue;
    const { index } = volume;
    const freed = await pruneGroup({
      open,
      volumes: view.filter((each) => toHex(each.index.group) === toHex(index.group)),
      removed: new Set(index.sessions.map((each) => toHex(each.uid))),
      scratch: paths.prune,
      signal: context.signal,
      note: { what: "delete", volume: index.volume },
      // A monitor must not write the delta map of a volume whose state is being removed.
      hold: async () => takeLock(context.state.lock, "delete", stateLockSeconds),
      onUnfinished: (unfinished) => noteUnfinished(paths, toHex(index.group), unfinished),
    });
    const sessions = index.sessions.length;
    yield {
      volume: name,
      sessions,
      freed: comesFree(freed.get(toHex(index.volume)) ?? nothingFreed, punches),
    };
  }
  try {
    const { waits } = await sweep(open);
    if (waits) context.report.notice("what was deleted comes free when the destination's trash time is over");
  } finally {
    await tidyAfterSend(context, names);
  }
}

/** Forgets what dom0 itself keeps of volumes: delta maps, id maps, snapshots. The archives stay as they are, and the next
 *  send compares the whole volume. Without patterns: of all. Gives the names that were known. */
export async function deleteLocal(
  context: Context,
  archives: readonly ArchiveSettings[],
  patterns: readonly string[] | undefined,
): Promise<readonly string[]> {
  const known = archives.map(({ name }) => ({
    name,
    record: readArchiveRecord(context.state.archive(name)),
  }));
  const names = [...new Set(known.flatMap(({ record }) => (record?.volumes ?? []).map((each) => each.name)))];
  const { found, unmatched } = matchNames(patterns ?? names, names);
  if (unmatched.length > 0)
    throw new AgentError(
      "failed",
      `delete: dom0 has no state of ${unmatched.join(", ")}`,
      "see sparsebak status",
    );
  for (const { name, record } of known) {
    const paths = context.state.archive(name);
    const volumes = (record?.volumes ?? []).filter((each) => found.includes(each.name));
    if (volumes.length === 0) continue;
    using _lock = await takeArchiveLock(paths.lock, `delete from ${name}`);
    using _state = await takeLock(context.state.lock, "delete", stateLockSeconds);
    for (const each of volumes) removeVolumeState(paths, each.id);
  }
  await tidyAfterSend(context, found);
  return found;
}

function noArchive(settings: ArchiveSettings): AgentError {
  return new AgentError("failed", `delete: there is no archive at ${where(settings)}`);
}
