// Which session of a volume an archive has last, as far as dom0 knows, for status. Only for show: nothing is decided by it.

import { existsSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { containerOf, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { removeFile } from "./atomic-file.ts";
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

/** undefined where there is none; where it is damaged, `notice` hears of it. */
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
    notice(
      `${error.message}; the next send of the volume makes it again, and sparsebak list shows what the archive has`,
    );
    return undefined;
  }
}

/** Notes the newest session of the volume's index, or that the archive has none of it. With a time, the volume was found to
 *  be what that session is at that time. Where dom0 keeps nothing of the volume, nothing is noted. */
export function noteCurrent(paths: VolumePaths, index: VolumeIndex | undefined, at: number = 0): void {
  if (!existsSync(paths.directory)) return;
  const session = index?.sessions.at(-1);
  const name = index && session && containerOf(index, session.uid)?.name;
  if (session === undefined || name === undefined) return removeFile(paths.last);
  const { takenAt, size } = session;
  const before = readLastSession(paths);
  const seenAt = before?.name === name ? before.currentAt : takenAt;
  const last: LastSession = { name, takenAt, size, currentAt: Math.max(at, seenAt) };
  if (!isDeepStrictEqual(before, last)) writeRecord(paths.last, last);
}
