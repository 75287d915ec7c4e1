// sparsebak monitor

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseVolumes } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, committedOption, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText } from "../../units.ts";

export function addMonitor({ parser, perform }: CommandLine): void {
  parser.command(
    "monitor [volumes..]",
    "fold what changed into the delta maps and move the snapshots on",
    (command) => volumesOf(command).option("committed", committedOption),
    async (options) => perform(options, async (context, output) => runMonitor(context, output, options)),
  );
}

async function runMonitor(
  context: Context,
  output: Output,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly committed: boolean;
    readonly dest: string | undefined;
  },
): Promise<ExitReason> {
  if (options.dest !== undefined)
    throw new AgentError("usage", "monitor: it reaches no destination, --dest does not go with it");
  const { dropExpired } = await import("../../restore/drop-kept.ts");
  await dropExpired(context);
  const volumes = await chooseVolumes(context.settings, context.storage, options.volumes, options.all);
  if (!context.storage.capabilities.snapshots) {
    output.line("nothing to monitor: image files are compared when they are sent", {
      type: "monitor",
      volumes: 0,
    });
    return "done";
  }
  const { monitor } = await import("../../monitor/monitor.ts");
  const results = await monitor(context, { volumes, committed: options.committed, forSend: false });
  for (const result of results) {
    if (result.ok) {
      const changed = result.changedBytes ?? 0;
      const message = changed === 0 ? "unchanged" : `at most ${bytesText(changed)} changed`;
      output.volume({
        volume: result.volume,
        command: "monitor",
        ok: true,
        message,
        fields: { changedBytes: changed },
      });
    } else {
      const { volume, error } = result;
      output.volume({ volume, command: "monitor", ok: false, message: error.message, hint: error.hint });
    }
  }
  const unmapped = volumes.filter((volume) => !results.some((each) => each.volume === volume));
  if (unmapped.length > 0)
    output.notice(
      `there is no delta map of ${unmapped.join(", ")}: the next send takes the whole, and begins one`,
    );
  const failed = results.filter((each) => !each.ok).length;
  if (failed === 0) return "done";
  return failed === volumes.length ? "failed" : "partly";
}
