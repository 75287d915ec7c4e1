// check --repair: takes away what can't be saved and keeps the rest usable. Sessions that need a lost chunk go, and so do
// those whose header, or whose manifest or an earlier one, is lost; lists are written anew without what is lost. After
// that nothing in the archive or in dom0's records names a lost chunk, so the next send stores it again where the volume
// still holds it. Nothing is taken away on the receiver's word: dom0 has read, or tried to read, what it calls lost.

import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import type { LostVolume } from "../check/archived-volume.ts";
import type { CheckedVolume } from "../check/check-group.ts";
import { writeAnew } from "../check/copies.ts";
import { needsList, rebuildLists } from "../check/rebuild-lists.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { oldHeads } from "../prune/old-heads.ts";
import { pruneGroup } from "../prune/prune-group.ts";
import { allSessions } from "../restore/find-session.ts";
import { makeDirectory } from "../state/atomic-file.ts";
import { lockForRemoval, takeLock } from "../state/lock.ts";
import { noteUnfinished } from "../state/unfinished-prune.ts";
import { type OpenArchive, where } from "./archive.ts";
import { type Checked, type CheckedGroup, checkArchive } from "./check.ts";
import { commitStep } from "./commit-step.ts";
import type { Context } from "./context.ts";
import { isDamaged } from "./damage-report.ts";
import { openDestination } from "./destination.ts";
import { stateLockSeconds } from "./state-lock.ts";

export interface RepairOptions {
  readonly readData: boolean;
  /** Asks whether to go on, once it is known what goes. */
  readonly agrees: (question: string) => Promise<boolean>;
}

/** Checks an archive and repairs it. `done` where it is whole afterwards. */
export async function repair(
  context: Context,
  settings: ArchiveSettings,
  options: RepairOptions,
): Promise<ExitReason> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeLock(paths.lock, `check --repair of ${settings.name}`, 0);
  using _readers = await lockForRemoval(paths, `check --repair of ${settings.name}`);
  const { reason, checked } = await checkArchive(context, settings, options);
  if (reason === "done") return "done";
  if (!(await options.agrees(questionOf(checked)))) return reason;
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  if (open === undefined) throw new AgentError("failed", `check: there is no archive at ${where(settings)}`);
  await using client = open.client;
  if (!equalBytes(open.headDigest, checked.headDigest))
    throw new AgentError(
      "failed",
      "check: the archive has been changed since it was checked; nothing was repaired",
      "run check again",
    );
  const { generation } = open.head;
  for (const group of checked.groups) await repairGroup(context, open, group);
  for (const each of checked.lost) await removeVolume(context, open, each);
  await writeAnew(open, checked.copies, generation);
  await client.ask("sweep", {});
  await client.close();
  return "done";
}

/** The sessions of a volume that can't be saved. */
function goingOf({
  volume,
  sessions,
}: CheckedVolume): readonly { readonly uid: string; readonly name: string }[] {
  return allSessions(volume.index).flatMap(({ record, container }, i) => {
    const damage = sessions[i];
    return damage !== undefined && isDamaged(damage)
      ? [{ uid: toHex(record.uid), name: container.name }]
      : [];
  });
}

function questionOf({ groups, lost }: Checked): string {
  const volumes = groups.flatMap((each) => each.volumes);
  const lines = volumes.flatMap((each) => {
    const going = goingOf(each);
    if (going.length === 0) return [];
    const { name, sessions } = each.volume.index;
    return `  ${name}: ${going.length} of ${sessions.length} sessions go: ${going.map((session) => session.name).join(" ")}`;
  });
  const whole = lost.map(({ name }) => `  ${name}: goes whole, its index can't be read`);
  const what = [...lines, ...whole];
  if (what.length === 0) return "no session goes. Write anew what is damaged?";
  return `what can't be saved goes for good:\n${what.join("\n")}\nGo on?`;
}

async function repairGroup(
  context: Context,
  open: OpenArchive,
  { group, volumes }: CheckedGroup,
): Promise<void> {
  const going = volumes.map(goingOf);
  const isBroken = volumes.some(({ containers }) =>
    containers.some((each) => needsList(each) || each.lost.size > 0 || each.claimed().length > 0),
  );
  if (!isBroken && going.every((each) => each.length === 0)) return;
  const removed = new Set(going.flat().map((each) => each.uid));
  await pruneGroup({
    open,
    volumes: await rebuildLists(open, volumes, removed),
    removed,
    scratch: open.paths.prune,
    signal: context.signal,
    note: { what: "prune" },
    older: await oldHeads(open),
    onUnfinished: (unfinished) => noteUnfinished(open.paths, group, unfinished),
  });
  for (const [i, { volume, sessions }] of volumes.entries()) {
    const names = (going[i] ?? []).map((each) => each.name);
    const left = sessions.length - names.length;
    context.report.volume({
      volume: volume.index.name,
      command: "repair",
      ok: true,
      message:
        names.length === 0 ? `${left} sessions stay` : `${names.length} sessions removed, ${left} stay`,
      fields: { removed: names, kept: left },
    });
  }
}

/** Removes a volume of which nothing can be found any more. The next send makes it anew. */
async function removeVolume(context: Context, open: OpenArchive, { entry, name }: LostVolume): Promise<void> {
  // A monitor must not write the delta map of a volume whose state is being removed.
  using _state = await takeLock(context.state.lock, "check --repair", stateLockSeconds);
  const { volume, directory } = entry;
  await commitStep(open, {
    note: { what: "delete", volume },
    indexes: [],
    removed: [volume],
    dead: {
      volumes: [{ volume, directory, removed: true, indexes: [], containers: [] }],
      headsBelow: 0 as typeof open.head.generation,
      archives: [],
    },
  });
  context.report.volume({
    volume: name,
    command: "repair",
    ok: true,
    message: "removed from the archive; the next send makes it anew",
    fields: { removed: "all" },
  });
}
