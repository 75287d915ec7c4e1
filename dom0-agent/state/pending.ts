// A send that is under way, or was cut short: its session, the snapshot that it reads, and its part of the delta map.
// The changes that come in meanwhile are counted from its session on, in the delta map itself (design section 5).

import { type SessionUid, uidBytes } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { VolumePaths } from "./layout.ts";
import { type DeltaMap, readDeltaMap, writeDeltaMap } from "./delta-map.ts";
import { removeFile } from "./atomic-file.ts";
import { field, readRecord, writeRecord } from "./record.ts";

export interface PendingSend {
  readonly session: SessionUid;
  /** The snapshot that is pinned until the send has ended or been merged back. */
  readonly snapshotUuid: string;
  /** The map as it was: what the send sends. undefined: there was none, everything is sent or compared. */
  readonly sending: DeltaMap | undefined;
}

export function readPending(paths: VolumePaths): PendingSend | undefined {
  const record = readRecord(paths.pending, (value) => ({
    session: field.hex<SessionUid>(value, "session", uidBytes),
    snapshotUuid: field.text(value, "snapshot"),
    hasMap: field.flag(value, "hasMap"),
  }));
  if (record === undefined) return undefined;
  const sending = record.hasMap ? readDeltaMap(paths.sending) : undefined;
  return { session: record.session, snapshotUuid: record.snapshotUuid, sending };
}

/** Writes a send down; its map first, so that the record never names a map that is not there. */
export function writePending(paths: VolumePaths, pending: PendingSend): void {
  if (pending.sending !== undefined) writeDeltaMap(paths.sending, pending.sending);
  writeRecord(paths.pending, {
    session: toHex(pending.session),
    snapshot: pending.snapshotUuid,
    hasMap: pending.sending !== undefined,
  });
}

/** The send has ended, or its map is back in the delta map. */
export function removePending(paths: VolumePaths): void {
  removeFile(paths.pending);
  removeFile(paths.sending);
}
