// The settings file, replaced whole. It is a person's file, in a directory where others may make files too: its owner
// and mode stay, and whatever lies in the way of the new one is never written to.

import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync,
} from "node:fs";
import { dirname } from "node:path";
import { utf8 } from "../../protocol/wire/writer.ts";
import { syncDirectory, temporaryOf } from "../state/atomic-file.ts";
import { writeAll } from "../state/writing.ts";

/** Replaces the file at `path`, no link, which has to be there. Call under the state's lock. Throws what the system throws,
 *  and an Error for what lies under the name of the new file and can't be what a run that was killed here has left. */
export function replaceSettings(path: string, text: string): void {
  const temporary = temporaryOf(path);
  const now = statSync(path);
  removeLeftover(temporary, now);
  // Only as a new file: nothing that comes to lie there meanwhile is followed or written to.
  const fd = openSync(temporary, "wx", 0o600);
  try {
    try {
      writeAll(fd, utf8(text));
      const own = fstatSync(fd);
      if (own.uid !== now.uid || own.gid !== now.gid) fchownSync(fd, now.uid, now.gid);
      fchmodSync(fd, now.mode & 0o7777);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** A killed run leaves a regular file, ours or already given to the owner of the settings. */
function removeLeftover(temporary: string, settings: Stats): void {
  const left = lstatSync(temporary, { throwIfNoEntry: false });
  if (left === undefined) return;
  if (!left.isFile()) throw new Error(`found ${temporary}, which is no regular file, wanted nothing there`);
  if (left.uid !== process.geteuid?.() && left.uid !== settings.uid)
    throw new Error(`found ${temporary}, a file of user ${left.uid}, wanted nothing there`);
  unlinkSync(temporary);
}
