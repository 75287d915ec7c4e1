// Putting a restored volume in the place of the old one takes two renames, between which the volume has no name. So the
// swap is written down first, and a run that finds the word of a dead one finishes it, or undoes it where nothing was
// renamed yet (design section 8: a restore never destroys first).
//
//   1. the word is written and synced: the uuids of both, the name for the old one
//   2. the old one is tagged as ours and renamed to VOLUME.old-XXXXXXXX
//   3. VOLUME.restore is renamed to VOLUME
//   4. the new one loses our tags; the word is removed

import { join } from "node:path";
import { removeFile } from "../../state/atomic-file.ts";
import { field, readRecord, writeRecord } from "../../state/record.ts";
import { StorageError } from "../storage.ts";
import { type LvmCommand, runAlone } from "./lvm-commands.ts";
import type { LogicalVolume } from "./lvs.ts";
import { isRestoreName, targetName } from "./names.ts";
import type { Look } from "./volume-group.ts";

export interface Swap {
  readonly vg: string;
  readonly volume: string;
  readonly newUuid: string;
  /** Empty where there was no such volume. */
  readonly oldUuid: string;
  readonly keptName: string;
}

type Looker = () => Promise<Look>;

function wordPath(stateDirectory: string): string {
  return join(stateDirectory, "swap");
}

/** Writes the swap down and carries it out. Throws StorageError; what was begun is then settled by `settleSwap`. */
export async function carryOutSwap(
  swap: Swap,
  look: Looker,
  stateDirectory: string,
  tags: readonly string[],
): Promise<void> {
  writeRecord(wordPath(stateDirectory), swap);
  if (swap.oldUuid !== "") {
    const added = tags.flatMap((each) => ["--addtag", each]);
    await must(["lvchange", ...added, `${swap.vg}/${swap.volume}`], swap);
    await must(["lvrename", swap.vg, swap.volume, swap.keptName], swap);
  }
  await finish(swap, await look(), stateDirectory, tags);
}

/** Steps 3 and 4, as far as they are not done. */
async function finish(
  swap: Swap,
  seen: Look,
  stateDirectory: string,
  tags: readonly string[],
): Promise<void> {
  const lv = byUuid(seen, swap.newUuid);
  if (lv === undefined) throw new StorageError("gone", `${swap.volume}: the restored volume is gone`);
  if (lv.name !== swap.volume) await must(["lvrename", swap.vg, lv.name, swap.volume], swap);
  const removed = tags.filter((each) => lv.tags.includes(each)).flatMap((each) => ["--deltag", each]);
  if (removed.length > 0) await must(["lvchange", ...removed, `${swap.vg}/${swap.volume}`], swap);
  removeFile(wordPath(stateDirectory));
}

/** Settles the swap that a run which was cut short has written down, if there is one of this volume group. */
export async function settleSwap(
  look: Looker,
  vg: string,
  stateDirectory: string,
  tags: readonly string[],
): Promise<void> {
  const swap = readRecord(wordPath(stateDirectory), (value) => ({
    vg: field.text(value, "vg"),
    volume: field.text(value, "volume"),
    newUuid: field.text(value, "newUuid"),
    oldUuid: field.text(value, "oldUuid"),
    keptName: field.text(value, "keptName"),
  }));
  if (swap === undefined || swap.vg !== vg) return;
  const seen = await look();
  const old = byUuid(seen, swap.oldUuid);
  const made = byUuid(seen, swap.newUuid);
  const inPlace = seen.byName.get(swap.volume);
  if (made !== undefined && (inPlace === undefined || inPlace.uuid === made.uuid)) {
    await finish(swap, seen, stateDirectory, tags);
    return;
  }
  // Nothing was renamed yet, or another volume has the name by now: what was made is left to be removed.
  if (inPlace === undefined && old?.name === swap.keptName)
    await must(["lvrename", vg, old.name, swap.volume], swap);
  const back = byUuid(await look(), swap.oldUuid);
  if (back?.name === swap.volume) {
    const removed = tags.filter((each) => back.tags.includes(each)).flatMap((each) => ["--deltag", each]);
    if (removed.length > 0) await must(["lvchange", ...removed, `${vg}/${swap.volume}`], swap);
  }
  removeFile(wordPath(stateDirectory));
}

/** Two that wait for one name: that of the volume, which none has. */
export interface HalfSwapped {
  readonly volume: string;
  readonly restored: string;
  readonly old: string;
}

/**
 * Our VOLUME.restore that are left where no swap is written down: half made, to be removed; or, where the old one was
 * put aside and nothing has the volume's name, all that may be left of a swap whose word was damaged. That is settled
 * by hand: the restored one is whole, and to remove it could be to destroy first.
 */
export function leftTargets<Volume extends Pick<LogicalVolume, "name" | "tags">>(
  volumes: readonly Volume[],
  tags: readonly string[],
): { readonly halfMade: readonly Volume[]; readonly halfSwapped: readonly HalfSwapped[] } {
  const ours = volumes.filter((lv) => tags.every((each) => lv.tags.includes(each)));
  const halfMade: Volume[] = [];
  const halfSwapped: HalfSwapped[] = [];
  for (const lv of ours.filter(({ name }) => name.endsWith(targetName("")))) {
    const volume = lv.name.slice(0, -targetName("").length);
    const isThere = volumes.some(({ name }) => name === volume);
    const old = ours.find(({ name }) => name.startsWith(`${volume}.old-`) && isRestoreName(name));
    if (isThere || old === undefined) halfMade.push(lv);
    else halfSwapped.push({ volume, restored: lv.name, old: old.name });
  }
  return { halfMade, halfSwapped };
}

function byUuid(seen: Look, uuid: string): LogicalVolume | undefined {
  return uuid === "" ? undefined : [...seen.byName.values()].find((each) => each.uuid === uuid);
}

async function must(command: LvmCommand, swap: Swap): Promise<void> {
  const complaint = await runAlone(command);
  if (complaint !== undefined) {
    throw new StorageError(
      "tool",
      `put the restored ${targetName(swap.volume)} in the place of ${swap.volume}: ${command[0] ?? ""}: ${complaint}`,
      `the old volume is ${swap.volume} or ${swap.keptName}; the next run of sparsebak settles it`,
    );
  }
}
