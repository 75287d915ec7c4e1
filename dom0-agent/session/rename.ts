// rename: a volume's name in the archive and in dom0's state. Its directory and all its chunks stay where they are.

import { isVolumeName } from "../../protocol/archive/names.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { changeIndexes } from "../archive/change-indexes.ts";
import type { Context } from "../context.ts";

/** Throws AgentError where the archive has no volume `from`, or has one that is called `to`. */
export async function rename(
  context: Context,
  settings: ArchiveSettings,
  from: string,
  to: string,
): Promise<void> {
  if (!isVolumeName(to)) throw new AgentError("usage", `rename: «${to}» can't be the name of a volume`);
  await changeIndexes(context, settings, "rename", (view) => {
    const shown = view.filter((each) => each.index.sessions.length > 0);
    const volume = shown.find((each) => each.index.name === from);
    if (volume === undefined)
      throw new AgentError("failed", `rename: the archive has no volume ${from}`, "see sparsebak list");
    if (shown.some((each) => each.index.name === to))
      throw new AgentError("failed", `rename: the archive has a volume ${to} already`);
    return {
      changes: [{ volume, change: { name: to } }],
      note: { what: "rename", volume: volume.index.volume, name: to },
      result: undefined,
    };
  });
}
