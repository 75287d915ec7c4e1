// How long what was pruned is kept. The setting counts; the archive's own record, the largest that any receiver has had,
// counts where there is none, so that a lost settings file shortens nothing (archive-format.md, F35).

import { createHash } from "node:crypto";
import { closeSync, fsyncSync, renameSync } from "node:fs";
import { fileNames } from "../../protocol/archive/names.ts";
import { FormatError } from "../../protocol/errors.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { type Directory, syncDirectory } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { createFile, readWhole, removeFile, writeAll } from "../files.ts";
import { temporaries } from "./temporaries.ts";

export const maxTrashDays = 36_500;
const maxRecordBytes = 64;
export const dayMilliseconds = 86_400_000;

/** What the file says: the days, and a checksum of that line, because the file has no other. */
export function trashRecord(days: number): string {
  const line = `days = ${days}\n`;
  return `${line}sum = ${createHash("sha256").update(line).digest("hex").slice(0, 16)}\n`;
}

/** Days on record; 0 without a record. RefusalError `corrupt` for one that says nothing. */
export function recordedTrashDays(root: Directory): number {
  let text: string | undefined;
  try {
    const bytes = readWhole(root, fileNames.trash, maxRecordBytes);
    text = bytes && Buffer.from(bytes).toString("latin1");
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    text = "";
  }
  if (text === undefined) return 0;
  const days = Number(/^days = (\d{1,5})\n/.exec(text)?.[1] ?? Number.NaN);
  if (days <= maxTrashDays && text === trashRecord(days)) return days;
  throw new RefusalError(
    "corrupt",
    "the archive's file trash can't be read: set trash-days in receiver.ini, and the next command that writes makes it anew",
  );
}

function knownTrashDays(root: Directory): number {
  try {
    return recordedTrashDays(root);
  } catch (error) {
    if (error instanceof RefusalError) return -1;
    throw error;
  }
}

/** Puts the setting on record where it is more than that, or where the record says nothing. Only under the archive's
 *  lock. */
export function recordTrashDays(root: Directory, days: number): void {
  if (days <= knownTrashDays(root)) return;
  removeFile(root, temporaries.trash);
  const fd = createFile(root, temporaries.trash);
  try {
    writeAll(fd, utf8(trashRecord(days)));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(root.at(temporaries.trash), root.at(fileNames.trash));
  syncDirectory(root);
}
