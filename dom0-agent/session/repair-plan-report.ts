// What check --repair says: before it asks and begins, what can be put back, and from where, and what is lost for good;
// and behind it, what became of each volume.

import type { ArchivedVolume, LostVolume } from "../check/archived-volume.ts";
import { isNothing, type Spoil } from "../check/rest.ts";
import { countText } from "../units.ts";
import { amountText, bytesIn } from "../heal/lost-text.ts";
import type { GoingSession, GroupPlan } from "../heal/plan-group.ts";
import type { LostChunk } from "../state/lost-chunks.ts";
import type { Context } from "../context.ts";

/** Says what a repair does; gives the question whether it is to. */
export function sayPlan(
  { report }: Pick<Context, "report">,
  groups: readonly GroupPlan[],
  lost: readonly LostVolume[],
  spoil: Spoil,
): string {
  const copied = groups.flatMap(({ needed, copies }) =>
    needed.filter((each) => copies.in(each)?.has(each.address) === true),
  );
  const held = groups.flatMap((each) => each.held.chunks);
  const holders = [...new Set(groups.flatMap((each) => [...each.holders.values()]))];
  const gone = groups.flatMap((each) => each.gone);
  if (copied.length > 0)
    report.notice(`${amountText(copied)} can be put back from other copies in the archive`, {
      ...fieldsOf("copied", copied),
    });
  if (held.length > 0)
    report.notice(`${amountText(held)} can be put back by a send of ${holders.join(", ")}`, {
      ...fieldsOf("held", held),
      holders,
    });
  if (gone.length > 0)
    report.warn(
      `${amountText(gone)} can't be put back: no copy was found in the archive or in volumes of this machine`,
      {
        ...fieldsOf("gone", gone),
      },
    );
  let going = 0;
  for (const { volumes, going: of } of groups) {
    for (const [i, { volume }] of volumes.entries()) {
      const names = (of[i] ?? []).map((each) => each.name);
      going += names.length;
      if (names.length === 0) continue;
      const { name, sessions } = volume.index;
      const message = `${name}: ${names.length} of ${sessions.length} sessions can't be saved: ${names.join(" ")}`;
      report.warn(message, { volume: name, going: names });
    }
  }
  for (const { name } of lost)
    report.warn(`${name}: none of it can be saved: its index can't be read`, { volume: name, going: "all" });
  const parts = [
    ...(copied.length + held.length > 0 ? ["put back what can be"] : []),
    ...(going > 0 ? [`remove ${countText(going, "session")} for good`] : []),
    ...(lost.length > 0 ? [`remove ${countText(lost.length, "whole volume")} for good`] : []),
    ...(spoil.heads ? ["give up the archive's older states"] : []),
    ...(spoil.files.length > 0
      ? [`remove ${spoil.files.length} files and chunks that no session needs`]
      : []),
  ];
  if (parts.length === 0 && isNothing(spoil)) return "no session goes. Write anew what is damaged?";
  return `${parts.join(", ")}${going + lost.length === 0 ? "; no session goes" : ""}. Go on?`;
}

function fieldsOf(what: string, chunks: readonly LostChunk[]): Readonly<Record<string, number>> {
  return { [`${what}Chunks`]: chunks.length, [`${what}Bytes`]: bytesIn(chunks) };
}

/** Reports what became of a volume; `gone` are its sessions that went. */
export function sayRepaired(
  context: Context,
  { name, sessions }: ArchivedVolume["index"],
  gone: readonly GoingSession[],
): void {
  const names = gone.map((each) => each.name);
  const left = sessions.length - names.length;
  context.report.volume({
    volume: name,
    command: "repair",
    ok: true,
    message:
      names.length === 0
        ? `${countText(left, "session")} stay`
        : `${countText(names.length, "session")} removed, ${left} stay`,
    fields: { removed: names, kept: left },
  });
}
