// Small records that are damaged and that nothing else holds: what they held can't be had again, and no command may be
// stopped by them for good. They are put aside, which is said, with what is left to do by hand.

import { existsSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { StateLayout } from "./layout.ts";
import { DamagedStateError, readRecord } from "./record.ts";

/** Records in the state directory, and what without each is for the user to do. */
const records: Readonly<Record<string, string>> = {
  kept: "old volumes that restores have put aside, VOLUME.old-XXXXXXXX, are to be removed by hand",
  restoring: "what a restore that was killed has left, .NAME.sparsebak-restore, is to be removed by hand",
  swap: "a restore that was killed between its two renames is to be finished by hand: lvs shows VOLUME.restore",
};

/** Renames those that are damaged to NAME.damaged; `warn` hears of each. */
export function setDamagedAside(state: StateLayout, warn: (message: string) => void): void {
  for (const [name, without] of Object.entries(records)) setAside(join(state.directory, name), without, warn);
  const archives = join(state.directory, "archives");
  for (const name of existsSync(archives) ? readdirSync(archives) : []) {
    const { unfinished, deleted } = state.archive(name);
    setAside(
      unfinished,
      "chunks that a prune has left and nothing names go when something of their group is pruned again",
      warn,
    );
    setAside(
      deleted,
      "key --export gives no key of the volumes that were deleted so far; spbk-assemble --untrash with a passphrase or the recovery form opens what the trash has of them",
      warn,
    );
  }
}

function setAside(path: string, without: string, warn: (message: string) => void): void {
  try {
    readRecord(path, (value) => value);
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    renameSync(path, `${path}.damaged`);
    warn(`${error.message}; it is put aside as ${path}.damaged: ${without}`);
  }
}
