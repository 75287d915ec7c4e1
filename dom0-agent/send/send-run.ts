// One run of send: monitor once, then each destination in turn, from the same snapshots. A destination that fails does
// not stop the others.

import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { createPool } from "../pipeline/pool.ts";
import { reasonOf } from "../reason.ts";
import type { Context } from "../context.ts";
import { monitor, type MonitorResult } from "../monitor/monitor.ts";
import { send } from "./send.ts";
import type { SendOptions } from "./send-volume.ts";
import { tidyAfterSend } from "../monitor/tidy-after-send.ts";

/** Sends `volumes` to each of `archives`, and calls `afterwards` for each that has got any of them. What stops a
 *  destination as a whole is reported when there are others, and thrown when there is but one. Gives what the run came
 *  to. */
export async function sendRun(
  context: Context,
  archives: readonly ArchiveSettings[],
  volumes: readonly string[],
  options: SendOptions,
  afterwards: (archive: ArchiveSettings) => Promise<ExitReason>,
): Promise<ExitReason> {
  let monitoring: Promise<readonly MonitorResult[]> | undefined;
  // By the first destination that no other run holds.
  const monitored = async (): Promise<readonly MonitorResult[]> => {
    if (!context.storage.capabilities.snapshots) return [];
    monitoring ??= monitor(context, { volumes, committed: options.committed, forSend: true });
    return monitoring;
  };
  const outcomes: ExitReason[] = [];
  await using pool = createPool();
  try {
    for (const archive of archives) {
      try {
        const sent = await send(context, archive, volumes, { ...options, pool, monitored });
        outcomes.push(sent);
        if (sent === "done" || sent === "partly") outcomes.push(await afterwards(archive));
      } catch (error) {
        if (archives.length === 1 || context.signal.aborted) throw error;
        context.report.error(named(error, archive), { archive: archive.name });
        outcomes.push(reasonOf(error));
      }
    }
  } finally {
    if (monitoring !== undefined) await tidyAfterSend(context, volumes);
  }
  return combined(outcomes);
}

/** What several outcomes come to: what all of them are; else integrity, if one of them is that; else some are done. */
function combined(outcomes: readonly ExitReason[]): ExitReason {
  const [first = "done"] = outcomes;
  if (outcomes.every((each) => each === first)) return first;
  if (outcomes.includes("integrity")) return "integrity";
  return outcomes.includes("done") || outcomes.includes("partly") ? "partly" : "failed";
}

/** The error with the name of the destination that it is about in front. */
function named(error: unknown, { name }: ArchiveSettings): AgentError {
  const text = error instanceof Error ? error.message : String(error);
  const prefix = `archive ${name}: `;
  const message = text.startsWith(prefix) ? text : prefix + text;
  const hint = (error as { readonly hint?: string }).hint;
  return new AgentError(reasonOf(error), message, hint, { cause: error });
}
