// Groups in which chunks may be left that no session needs: a prune of several steps was cut short, or a send went on
// with what an interrupted one had left. The next prune looks at them though it may have no session to remove.

import { removeFile } from "./atomic-file.ts";
import type { ArchivePaths } from "./layout.ts";
import { DamagedStateError, readRecord, writeRecord } from "./record.ts";

/** The groups, in hexadecimal. A record that is damaged says nothing: a later prune in that group finds them as well. */
export function unfinishedGroups(paths: ArchivePaths): readonly string[] {
  try {
    const found = readRecord(paths.unfinished, ({ groups }) => {
      if (!Array.isArray(groups)) throw new Error("groups: wanted a list");
      return groups.map(String);
    });
    return found ?? [];
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    return [];
  }
}

/** Writes down whether a group has more to remove. */
export function noteUnfinished(paths: ArchivePaths, group: string, unfinished: boolean): void {
  const before = unfinishedGroups(paths);
  if (before.includes(group) === unfinished) return;
  const groups = unfinished ? [...before, group] : before.filter((each) => each !== group);
  if (groups.length > 0) writeRecord(paths.unfinished, { groups });
  else removeFile(paths.unfinished);
}
