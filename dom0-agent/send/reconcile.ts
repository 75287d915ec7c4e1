// What became of a send that this dom0 has not seen the end of. The archive's verified state decides: the session is
// in it, and what came in since is the map; or it is not, and the map is both together (design section 5).

import type { SessionRecord, VolumeIndex } from "../../protocol/archive/index-file.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { resized, union } from "../delta/bitmap.ts";
import { removeFile } from "../state/atomic-file.ts";
import { type DeltaMap, readDeltaMap, writeDeltaMap } from "../state/delta-map.ts";
import type { VolumePaths } from "../state/layout.ts";
import { readPending, removePending } from "../state/pending.ts";
import { DamagedStateError } from "../state/record.ts";

/** Settles a pending send of a volume. Call under the state's lock. Idempotent: a kill in between is settled again. */
export function reconcile(
  paths: VolumePaths,
  index: VolumeIndex | undefined,
): "none" | "committed" | "merged" {
  const pending = readPending(paths);
  if (pending === undefined) return "none";
  const since = readDeltaMap(paths.delta);
  const committed = index?.sessions.find((each) => equalBytes(each.uid, pending.session));
  if (committed !== undefined) {
    if (since !== undefined) writeDeltaMap(paths.delta, { ...since, baseMapRoot: committed.mapRoot });
    removePending(paths);
    return "committed";
  }
  const { sending } = pending;
  if (since !== undefined && sending !== undefined) writeDeltaMap(paths.delta, merged(sending, since));
  // Without the one or the other nothing is known of the time before: compare everything.
  else removeFile(paths.delta);
  removePending(paths);
  return "merged";
}

/** A send found that nothing differs from the last session: the map counts from there again, and what was looked at
 *  need not be looked at again. Call under the state's lock. */
export function settleUnchanged(paths: VolumePaths, last: Pick<SessionRecord, "uid" | "mapRoot">): void {
  const since = readDeltaMap(paths.delta);
  if (since !== undefined)
    writeDeltaMap(paths.delta, { ...since, base: last.uid, baseMapRoot: last.mapRoot });
  removePending(paths);
}

/** Everything that changed since the base of `sending`, complete up to the snapshot of `since`. A `since` that was
 *  merged already has the base back, and is a superset: merging again changes nothing. */
function merged(sending: DeltaMap, since: DeltaMap): DeltaMap {
  const grown = resized(sending.bits, sending.size, since.size, since.chunkSize);
  return { ...since, base: sending.base, baseMapRoot: sending.baseMapRoot, bits: union(grown, since.bits) };
}

/** The delta map if it counts from the session that is the archive's last one; what is left of it otherwise is
 *  removed. `notice` hears why a map can't be used. */
export function vouchedBase(
  paths: VolumePaths,
  index: VolumeIndex | undefined,
  notice: (message: string) => void,
): DeltaMap | undefined {
  let map: DeltaMap | undefined;
  try {
    map = readDeltaMap(paths.delta);
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    notice(error.message);
  }
  const last = index?.sessions.at(-1);
  if (map === undefined) {
    if (last !== undefined) notice("it has no delta map; the whole volume is compared");
    return undefined;
  }
  if (last !== undefined && equalBytes(map.base, last.uid) && equalBytes(map.baseMapRoot, last.mapRoot))
    return map;
  notice("its delta map counts from another session than the archive's last; the whole volume is compared");
  removeFile(paths.delta);
  return undefined;
}
