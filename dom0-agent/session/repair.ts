// check --repair: puts back what can be put back, and takes away what can't be saved, so that the rest is usable. Sessions
// that refer to a lost chunk are made to refer to another copy of it, to begin with one that a send of this machine's
// volume has just stored. Those that need a lost chunk of which there is none go, and so do those whose header, or whose
// manifest or an earlier one, is lost; lists are written anew without what is lost. Nothing is taken away on the
// receiver's word: dom0 has read, or tried to read, what it calls lost.

import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { type LostVolume, readVolumes } from "../check/archived-volume.ts";
import type { CheckedVolume } from "../check/check-group.ts";
import { writeAnew } from "../check/copies.ts";
import { deadOf, isNothing, type Spoil, spoilOf, staysDamaged } from "../check/rest.ts";
import { needsList, rebuildLists } from "../check/rebuild-lists.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { healGroup } from "../heal/heal-group.ts";
import { type LostPlaces, lostPlaces } from "../state/lost-places.ts";
import { amountText } from "../heal/lost-text.ts";
import { lookHere } from "../heal/look-here.ts";
import { type GroupPlan, planGroup } from "../heal/plan-group.ts";
import { type OldHeads, oldHeads } from "../prune/old-heads.ts";
import { lockForRemoval, takeLock, type Lock } from "../state/lock.ts";
import { type LostChunk, mostLost, readLost, writeLost } from "../state/lost-chunks.ts";
import { type OpenArchive, where } from "../archive/archive.ts";
import { type Checked, checkArchive } from "./check.ts";
import { commitStep, nextGeneration } from "../archive/commit-step.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { sweepOrWarn } from "../archive/sweep.ts";
import { hasMoreLost, lostCount, noteLost } from "./note-lost.ts";
import { sayPlan, sayRepaired } from "./repair-plan-report.ts";
import { sendBack } from "../send/send-back.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { makeDirectory } from "../state/writing.ts";

export interface RepairOptions {
  readonly readData: boolean;
  /** Asks whether to go on, once it is known what can be put back and what goes. */
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
  using lock = await takeLock(paths.lock, `check --repair of ${settings.name}`, 0);
  // Whoever is reading now is not to be found out about behind a long check.
  (await lockForRemoval(paths, `check --repair of ${settings.name}`))[Symbol.dispose]();
  await putHeaderBack(context, settings);
  let round: Round = options;
  let lostBefore = Number.POSITIVE_INFINITY;
  for (;;) {
    const came = await repairRound(context, settings, lock, round);
    if (came === "put-off") round = { ...options, agrees: undefined };
    else if (typeof came === "string") return came;
    // Who loses again what is put back is not served for ever.
    else if (came.lost > lostBefore - mostLost / 2) {
      context.report.warn("as much was lost again as was put back; run check --repair again");
      return "integrity";
    } else lostBefore = came.lost;
  }
}

/** A header that the receiver has lost and dom0 has kept is put back by opening the archive for pruning. */
async function putHeaderBack(context: Context, settings: ArchiveSettings): Promise<void> {
  const open = await openDestination(context, settings, "sparsebak.Prune", async () => false);
  await open?.client.close();
  await open?.client[Symbol.asyncDispose]();
}

interface Round extends Pick<RepairOptions, "readData"> {
  /** undefined: nobody is asked, and nothing is removed. */
  readonly agrees: RepairOptions["agrees"] | undefined;
}

/** Gives `put-off` where nothing could be sent to a group, because a manifest was lost, and those sessions are gone now,
 *  and how many chunks were lost where that is more than is looked for at a time. */
async function repairRound(
  context: Context,
  settings: ArchiveSettings,
  lock: Lock,
  { readData, agrees }: Round,
): Promise<ExitReason | "put-off" | { readonly lost: number }> {
  const { reason, checked } = await checkArchive(context, settings, { readData });
  const lost = noteLost(context, settings, checked, lock);
  const volumes = checked.groups.flatMap((each) => each.volumes);
  const spoil = spoilOf(checked.rest, volumes);
  if (reason === "done" && isNothing(spoil)) return "done";
  let planned = await plan(context, settings, checked, lost, "look");
  if (!equalBytes(planned.headDigest, checked.headDigest)) throw changed();
  const { groups } = planned;
  const question = sayPlan(context, groups, checked.lost, spoil);
  if (agrees !== undefined && !(await agrees(question))) return reason;
  const mayGo = agrees === undefined ? [] : groups.flatMap((each) => each.going.flat());
  const agreed = new Set(mayGo.map((each) => each.uid));
  const holders = new Set(groups.flatMap((each) => [...each.holders.values()]));
  const isPutOff = groups.some((each) => each.lacksManifest && each.holders.size > 0);
  if (holders.size > 0 && !isPutOff) {
    await sendBack(context, settings, [...holders]);
    planned = await plan(context, settings, checked, lost);
  }
  using _readers = await lockForRemoval(context.state.archive(settings.name), "check --repair");
  const open = await opened(context, settings, "sparsebak.Prune");
  await using _client = open.client;
  if (!equalBytes(open.headDigest, planned.headDigest)) throw changed();
  const { generation } = open.head;
  if (agrees !== undefined && !isNothing(spoil)) await takeAway(open, spoil);
  const left: LostChunk[] = [];
  const noted = readLost(open.paths, (message) => context.report.warn(message));
  for (const group of planned.groups) {
    const stays = group.going.flat().some(({ uid }) => !agreed.has(uid));
    // What sessions go on to refer to; where one of them could not be looked at, that may be any of what was noted.
    const kept = [...group.held.chunks, ...(stays ? group.gone : [])];
    left.push(...(stays ? noted.filter((each) => isWithoutCopy(group, each)) : kept));
    await repairGroup(context, open, group, lostPlaces(kept), agreed);
  }
  if (agrees !== undefined) for (const each of checked.lost) await removeVolume(context, open, each);
  await writeAnew(open, checked.copies, generation);
  // What was damaged is of an older state by now, whichever step took its place, and that goes as a whole.
  if (agrees !== undefined && checked.copies.length > 0)
    await takeAway(open, { heads: true, files: [], volumes: [] });
  await sweepOrWarn(context.report, open);
  const unsaved = planned.groups.flatMap(({ going }) => going.flat()).filter(({ uid }) => !agreed.has(uid));
  writeLost(open.paths, left);
  if (unsaved.length > 0) {
    context.report.warn(
      `what was to be put back was not: ${unsaved.map((each) => each.name).join(", ")} stay as they are; run check --repair again`,
    );
    return "integrity";
  }
  const isNewlyDamaged = !isNothing(spoil) || checked.lost.length + checked.copies.length > 0;
  if (agrees === undefined && isNewlyDamaged) {
    context.report.warn(
      "more was damaged meanwhile: nothing is removed that was not asked about; run check --repair again",
    );
    return "integrity";
  }
  if (isPutOff) return "put-off";
  if (hasMoreLost(checked)) return { lost: lostCount(checked) };
  if (!staysDamaged(checked.rest, volumes)) return "done";
  context.report.warn(
    "some of what is damaged, and no session needs, stays: see above, or until it is pruned",
  );
  return "integrity";
}

/** A lost chunk of the group that has no copy. */
function isWithoutCopy({ volumes, copies }: GroupPlan, chunk: LostChunk): boolean {
  return (
    volumes.some(({ volume }) => equalBytes(volume.index.group, chunk.group)) &&
    copies.in(chunk)?.has(chunk.address) !== true
  );
}

function changed(): AgentError {
  return new AgentError(
    "failed",
    "check: the archive has been changed since it was checked; nothing was removed",
    "run check again",
  );
}

async function opened(
  context: Context,
  settings: ArchiveSettings,
  service: "sparsebak.Receive" | "sparsebak.Prune",
): Promise<OpenArchive> {
  const open = await openDestination(context, settings, service, async () => false);
  if (open !== undefined) return open;
  throw new AgentError("failed", `check: there is no archive at ${where(settings)}`);
}

/** What can be done for each group of the archive as it is now; with `look` by this machine's volumes as well. Throws
 *  AgentError `failed` where a container is not the one that was checked any more. */
async function plan(
  context: Context,
  settings: ArchiveSettings,
  { groups }: Checked,
  lost: readonly LostChunk[],
  look?: "look",
): Promise<{ readonly headDigest: Uint8Array; readonly groups: readonly GroupPlan[] }> {
  const { signal } = context;
  const open = await opened(context, settings, "sparsebak.Receive");
  await using client = open.client;
  const now = new Map(
    (await readVolumes(open)).groups.flatMap((each) =>
      each.volumes.map((volume) => [toHex(volume.index.volume), volume]),
    ),
  );
  const plans: GroupPlan[] = [];
  for (const { group, volumes } of groups) {
    const current = volumes.map((each): CheckedVolume => {
      const volume = now.get(toHex(each.volume.index.volume));
      if (volume === undefined || !isAsChecked(each, volume)) throw changed();
      return { ...each, volume };
    });
    const own = lost.filter((each) => toHex(each.group) === group);
    plans.push(
      await planGroup({
        open,
        volumes: current,
        lost: own,
        signal,
        ...(look === undefined
          ? {}
          : { look: async (of, uses, wanted) => lookHere(context, open, of, uses, wanted) }),
      }),
    );
  }
  await client.close();
  return { headDigest: open.headDigest, groups: plans };
}

/** All containers that were checked are there with the same lists and manifests. */
function isAsChecked(checked: CheckedVolume, { index }: CheckedVolume["volume"]): boolean {
  return checked.volume.index.containers.every((old) => {
    const now = index.containers.find((each) => equalBytes(each.uid, old.uid));
    return (
      now !== undefined &&
      equalBytes(now.listDigest, old.listDigest) &&
      equalBytes(now.manifestDigest, old.manifestDigest)
    );
  });
}

/** Takes away what nothing names, and the older states where anything of them is damaged. Changes no index, so what was
 *  checked is still so. */
async function takeAway(open: OpenArchive, spoil: Spoil): Promise<void> {
  const none: OldHeads = { headsBelow: 0 as Generation, indexes: new Map() };
  const older = spoil.heads ? await oldHeads(open, { kept: 2, mostBytes: Infinity }) : none;
  const dead = deadOf(open, spoil, older, nextGeneration(open));
  if (dead.volumes.length + dead.headsBelow + dead.archives.length === 0) return;
  await commitStep(open, { note: { what: "prune" }, indexes: [], dead });
}

/** `kept` are lost chunks that sessions go on to refer to, until they are put back. */
async function repairGroup(
  context: Context,
  open: OpenArchive,
  { volumes, going, needed, copies }: GroupPlan,
  kept: LostPlaces,
  agreed: ReadonlySet<string>,
): Promise<void> {
  const leaving = going.map((of) => of.filter(({ uid }) => agreed.has(uid)));
  const isBroken = volumes.some(({ containers }) =>
    containers.some((each) => needsList(each) || each.lost.size > 0 || each.claimed().length > 0),
  );
  if (!isBroken && leaving.every((each) => each.length === 0)) return;
  const removed = new Set(leaving.flat().map((each) => each.uid));
  await healGroup({
    open,
    volumes: await rebuildLists(open, volumes, removed, kept),
    copies,
    removed,
    older: await oldHeads(open),
    signal: context.signal,
  });
  for (const [i, { volume }] of volumes.entries()) sayRepaired(context, volume.index, leaving[i] ?? []);
  const healed = needed.filter((each) => copies.in(each)?.has(each.address) === true);
  if (healed.length > 0) context.report.notice(`put back: ${amountText(healed)}`, { healed: healed.length });
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
