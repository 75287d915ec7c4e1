// What check says: for each container what is wrong with it, for each session what that costs, for each volume a line.

import type { LostVolume } from "../check/archived-volume.ts";
import { addressSet } from "../check/address-set.ts";
import type { CheckedVolume } from "../check/check-group.ts";
import type { Damage } from "../../protocol/wire/messages.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { ContainerHealth } from "../check/container-health.ts";
import type { Rest } from "../check/rest.ts";
import { countText } from "../units.ts";
import { rangeText } from "../restore/address-ranges.ts";
import type { Context } from "../context.ts";
import { isDamaged, sayDamage } from "../restore/damage-report.ts";

/** Stretches of stored chunks that are named, for people and for programs. */
const mostShown = 16;
const mostRanges = 1000;

/** Of what no session needs dom0 reads nothing, with --read-data either. */
const word = ", by the destination's own word";

/** Reports a volume. True where anything of it is damaged. */
export function reportVolume(context: Context, checked: CheckedVolume, chunkSize: number): boolean {
  const { volume, containers, sessions, unneeded } = checked;
  const { name } = volume.index;
  let damagedContainers = 0;
  let extras = 0;
  let leftovers = 0;
  for (const each of containers) {
    if (sayContainer(context, name, each, chunkSize)) damagedContainers++;
    extras += each.extras.filter(({ what }) => what === "extra").length;
    leftovers += each.extras.filter(({ what }) => what === "leftover").length;
  }
  const bad = sessions.filter(isDamaged);
  for (const each of bad) sayDamage(context, name, each);
  if (extras > 0)
    context.report.notice(`${name}: ${countText(extras, "file")} that the archive does not name`, {
      volume: name,
      extras,
    });
  if (leftovers > 0)
    context.report.notice(
      `${name}: ${countText(leftovers, "file")} left over from commands that were cut short`,
      {
        volume: name,
        leftovers,
      },
    );
  if (unneeded !== undefined && unneeded > 0)
    context.report.notice(
      `${name}: ${countText(unneeded, "stored chunk")} that no session names: a prune removes them`,
      {
        volume: name,
        unneeded,
      },
    );
  const isClean = bad.length === 0 && damagedContainers === 0;
  const affected = `${bad.length} of ${sessions.length} sessions are damaged`;
  const ending =
    bad.length === 0 ? "; each of them can be restored" : `: ${bad.map((each) => each.session).join(", ")}`;
  context.report.volume({
    volume: name,
    command: "check",
    ok: isClean,
    message: isClean
      ? `${countText(sessions.length, "session")}, nothing is damaged`
      : `${name}: ${affected}${ending}`,
    fields: {
      sessions: sessions.map((each) => each.session),
      damaged: bad.map((each) => each.session),
      damagedContainers,
    },
  });
  return !isClean;
}

/** True where anything of the container is damaged. */
function sayContainer(context: Context, volume: string, health: ContainerHealth, chunkSize: number): boolean {
  const { files, lost, unlisted, spares } = health;
  const { name } = health.container;
  for (const { file, what, why } of files) {
    const text = why ?? `${name}: ${file === "offsets" ? "the tar" : "something"} is ${what}`;
    const message = text.startsWith(volume) ? text : `${volume}: ${text}`;
    context.report.warn(message, { volume, container: name, file, what });
  }
  if (unlisted.size > 0)
    context.report.warn(`${volume}: ${name}: its list lacks ${unlisted.size} chunks that manifests name`, {
      volume,
      container: name,
      unlisted: unlisted.size,
    });
  const gone = addressSet(lost);
  for (const each of health.claimed()) gone.add(each);
  if (gone.size > 0) {
    const ranges = stretches(gone, chunkSize);
    const shown = ranges.slice(0, mostShown).map(rangeText).join(" ");
    const more = ranges.length > mostShown ? " …" : "";
    context.report.warn(`${volume}: ${name}: ${countText(gone.size, "stored chunk")} lost: ${shown}${more}`, {
      volume,
      container: name,
      lostChunks: gone.size,
      ranges,
    });
  }
  if (spares.length > 0)
    context.report.warn(`${volume}: ${name}: damaged${word}, and no session needs it: ${kindsOf(spares)}`, {
      volume,
      container: name,
      spares: spares.length,
    });
  return files.length + unlisted.size + gone.size + spares.length > 0;
}

/** The first stretches of addresses, which rise. */
function stretches(
  addresses: Iterable<number>,
  chunkSize: number,
): readonly { readonly offset: number; readonly length: number }[] {
  const found: { offset: number; length: number }[] = [];
  for (const address of addresses) {
    const last = found.at(-1);
    if (last !== undefined && last.offset + last.length === address) last.length += chunkSize;
    else if (found.length === mostRanges) break;
    else found.push({ offset: address, length: chunkSize });
  }
  return found;
}

const words: Readonly<Record<Damage["file"], string>> = {
  header: "header",
  manifest: "manifest",
  list: "list",
  chunk: "chunk",
  offsets: "tar",
  other: "file",
  member: "place in a tar between its files",
  head: "older head",
  index: "older index",
  archive: "archive header",
  dead: "list of what was pruned",
  readme: "README.txt",
  lock: "lock",
  trash: "record of the trash time",
  session: "session",
};

/** How many of each kind: `chunk (3), list`. */
function kindsOf(found: readonly Damage[]): string {
  const counts = new Map<Damage["file"], number>();
  for (const { file } of found) counts.set(file, (counts.get(file) ?? 0) + 1);
  return [...counts].map(([file, count]) => words[file] + (count > 1 ? ` (${count})` : "")).join(", ");
}

/** What is to be done about damage that a repair does not touch. */
const byHand: Partial<Record<Damage["file"], string>> = {
  readme: "remove README.txt there: the next send writes it anew",
  lock: "remove the file lock there while nothing runs: the next send makes it anew",
  trash: "set trash-days in receiver.ini there: the next send writes the file trash anew",
  dead: "remove it from dead/ there: what it names is then extra, and check --repair takes it away",
};

/** Reports what is in no container; `names` of volumes by hexadecimal id. True where anything of it is damaged. */
export function reportRest(
  context: Context,
  { damaged, extras, leftovers, readme, waiting }: Rest,
  names: ReadonlyMap<string, string>,
): boolean {
  const { report } = context;
  const byVolume = Map.groupBy(damaged, ({ volume }) => names.get(toHex(volume)) ?? "");
  for (const [volume, found] of byVolume) {
    const of = volume === "" ? "the archive" : volume;
    report.warn(`${of}: damaged or missing${word}, and no session needs it: ${kindsOf(found)}`, {
      ...(volume === "" ? {} : { volume }),
      spares: found.length,
    });
  }
  for (const file of new Set(damaged.map((each) => each.file))) {
    const hint = byHand[file];
    if (hint !== undefined) report.notice(hint);
  }
  if (extras.length > 0)
    report.notice(
      `there is what the archive does not name: ${kindsOf(extras)}; spbk-assemble --scrub names it, check --repair removes what is of the archive's kinds`,
      { extras: extras.length },
    );
  if (leftovers.length > 0)
    report.notice(`left over from commands that were cut short: ${kindsOf(leftovers)}`, {
      leftovers: leftovers.length,
    });
  if (readme !== undefined)
    report.notice(
      readme === "missing"
        ? "README.txt is missing there; the next send writes it"
        : "README.txt there is that of another version of sparsebak",
      { readme },
    );
  if (waiting > 0)
    report.notice(`in the trash: what ${waiting} ${waiting === 1 ? "step" : "steps"} took away`, { waiting });
  return damaged.length > 0;
}

/** Reports a volume whose index can't be read. */
export function reportLost(context: Context, { name, why }: LostVolume): void {
  context.report.volume({
    volume: name,
    command: "check",
    ok: false,
    message: `${name}: all of its sessions are damaged: ${why}`,
    fields: { damaged: "all" },
  });
}
