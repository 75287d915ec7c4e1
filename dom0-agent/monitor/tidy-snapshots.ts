// Which of our snapshots stay, under which name. A snapshot goes only when no map and no pending send names it
// (design section 5); names are labels, so a snapshot that is still needed gives its name up to its successor.

import type { Snapshot, Storage, Survey } from "../storage/storage.ts";
import { snapshotOf, type TrackedVolume } from "./maps.ts";

export interface TidyPlan {
  readonly drop: readonly Snapshot[];
  readonly relabel: readonly { readonly snapshot: Snapshot; readonly label: string }[];
}

/**
 * Drops what nothing names, makes `.tock` the `.tick` where a map or `keep` needs it, and keeps an older `.tick` that
 * is still named as `.send-XXXXXXXX`. `keep` holds uuids of snapshots that a send is about to use. True when anything
 * was changed.
 */
export async function tidySnapshots(
  storage: Storage,
  survey: Survey,
  tracked: readonly TrackedVolume[],
  keep: ReadonlySet<string>,
): Promise<boolean> {
  const plan = planTidy(survey, tracked, keep);
  if (plan.drop.length > 0) await storage.dropSnapshots(plan.drop);
  // One after another: .tick has to be free before .tock can take its name.
  if (plan.relabel.length > 0) await storage.relabelSnapshots(plan.relabel);
  return plan.drop.length + plan.relabel.length > 0;
}

/** What tidySnapshots does, in order. */
export function planTidy(
  survey: Survey,
  tracked: readonly TrackedVolume[],
  keep: ReadonlySet<string>,
): TidyPlan {
  const byMap = new Set<string>(keep);
  const named = new Set<string>(keep);
  for (const { map, pending } of tracked) {
    const snapshot = map && snapshotOf(map, survey);
    if (snapshot) {
      byMap.add(snapshot.uuid);
      named.add(snapshot.uuid);
    }
    if (pending) named.add(pending.snapshotUuid);
  }
  const drop = survey.snapshots.filter((each) => !named.has(each.uuid));
  const relabel: { snapshot: Snapshot; label: string }[] = [];
  for (const tock of survey.snapshots.filter((each) => each.label === "tock" && named.has(each.uuid))) {
    const tick = survey.snapshots.find((each) => each.volume === tock.volume && each.label === "tick");
    if (!byMap.has(tock.uuid)) {
      relabel.push({ snapshot: tock, label: parkedLabel(tock) });
      continue;
    }
    if (tick !== undefined && named.has(tick.uuid))
      relabel.push({ snapshot: tick, label: parkedLabel(tick) });
    relabel.push({ snapshot: tock, label: "tick" });
  }
  return { drop, relabel };
}

/** A name that no other snapshot of the volume has: the first letters of the uuid. */
function parkedLabel(snapshot: Snapshot): string {
  return `send-${snapshot.uuid.replace(/[^A-Za-z0-9]/g, "").slice(0, 8)}`;
}
