// dom0's index of a group's chunks follows a prune, so that the next send need not make it again.

import { existsSync } from "node:fs";
import { isInRuns } from "../../protocol/archive/dead-file.ts";
import type { Head } from "../../protocol/archive/head.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { GroupId } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { dropFromIndex, forgetIndex } from "../archive/group-index.ts";
import { DamagedTableError } from "../state/chunk-table.ts";
import type { Fate } from "./fate.ts";

/** Takes what the step from `before` has removed out of the index. One that can't be used is forgotten. */
export async function forgetDead(
  open: OpenArchive,
  group: GroupId,
  before: Head,
  indexes: readonly VolumeIndex[],
  fates: ReadonlyMap<string, Fate>,
): Promise<void> {
  if (!existsSync(open.paths.group(group).stamp)) return;
  const { chunkSize } = open.record;
  try {
    await dropFromIndex(open, group, before, indexes, ({ session }) => {
      const fate = fates.get(toHex(session));
      if (fate === undefined) return undefined;
      if (fate.after === undefined) return () => true;
      if (fate.runs.length === 0) return undefined;
      return (address) => isInRuns(fate.runs, address, chunkSize);
    });
  } catch (error) {
    if (!(error instanceof DamagedTableError)) throw error;
    forgetIndex(open.paths, group);
  }
}
