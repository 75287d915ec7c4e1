// When a volume was last backed up, for status. Only for show: nothing is decided by it.

import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { VolumePaths } from "./layout.ts";
import { DamagedStateError, field, readRecord, writeRecord } from "./record.ts";

export interface LastSession {
  readonly name: string;
  /** Milliseconds since 1970: when its data was taken, and when the volume was last found to be the same. */
  readonly takenAt: number;
  readonly currentAt: number;
  /** Bytes of the volume. */
  readonly size: number;
}

/** undefined where there is none; where it is damaged, `notice` hears of it, and the next session writes it anew. */
export function readLastSession(
  paths: VolumePaths,
  notice: (message: string) => void = () => undefined,
): LastSession | undefined {
  try {
    return readRecord(paths.last, (value) => ({
      name: field.text(value, "name"),
      takenAt: field.number(value, "takenAt"),
      currentAt: field.number(value, "currentAt"),
      size: field.number(value, "size"),
    }));
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    notice(error.message);
    return undefined;
  }
}

export function writeLastSession(paths: VolumePaths, last: LastSession): void {
  writeRecord(paths.last, last);
}

/** The volume was found to be what its newest session in the archive is, at that time; or, without a time, only that
 *  session is known. */
export function noteCurrent(paths: VolumePaths, index: VolumeIndex, at: number = 0): void {
  const session = index.sessions.at(-1);
  const name = session && containerOf(index, session.uid)?.name;
  if (session === undefined || name === undefined) return;
  const { takenAt, size } = session;
  const before = readLastSession(paths);
  const seenAt = before?.name === name ? before.currentAt : takenAt;
  writeLastSession(paths, { name, takenAt, size, currentAt: Math.max(at, seenAt) });
}
