// sparsebak diff

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, committedOption, volumesOf } from "../command-line.ts";

export function addDiff({ parser, perform }: CommandLine): void {
  parser.command(
    "diff [volumes..]",
    "compare volumes as they are now with the archive; exit status 1 where they differ",
    (command) =>
      volumesOf(command, "volumes or patterns; --all for all of the archive")
        .option("session", {
          type: "string",
          requiresArg: true,
          describe: "S_…, a tag or a uid; without, the newest",
        })
        .option("quick", {
          type: "boolean",
          default: false,
          describe: "by chunk ids, without reading the archive's data",
        })
        .option("committed", committedOption),
    async (options) => perform(options, async (context) => runDiff(context, options)),
  );
}

async function runDiff(
  context: Context,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly session: string | undefined;
    readonly quick: boolean;
    readonly committed: boolean;
  },
): Promise<ExitReason> {
  const { volumes, all } = options;
  if (volumes.length === 0 && !all)
    throw new AgentError(
      "usage",
      "diff: found no volume, wanted one or more",
      "--all takes all of the archive",
    );
  const archive = chooseArchive(context.settings, options.dest);
  const { diff } = await import("../../session/diff.ts");
  return diff(context, archive, all ? "all" : volumes, options);
}
