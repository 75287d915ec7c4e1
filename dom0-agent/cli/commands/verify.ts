// sparsebak verify

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";

export function addVerify({ parser, perform }: CommandLine): void {
  parser.command(
    "verify [volumes..]",
    "read and check every byte that a session needs",
    (command) =>
      volumesOf(command, "volumes or patterns; --all for all of the archive")
        .option("session", {
          type: "string",
          requiresArg: true,
          describe: "S_…, a tag or a uid; without, the newest",
        })
        .option("all-sessions", {
          type: "boolean",
          default: false,
          describe: "all sessions, each stored chunk once",
        }),
    async (options) => perform(options, async (context) => runVerify(context, options)),
  );
}

async function runVerify(
  context: Context,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly session: string | undefined;
    readonly allSessions: boolean;
  },
): Promise<ExitReason> {
  const { volumes, all, session, allSessions } = options;
  if (volumes.length === 0 && !all)
    throw new AgentError(
      "usage",
      "verify: found no volume, wanted one or more",
      "--all takes all of the archive",
    );
  if (session !== undefined && allSessions)
    throw new AgentError("usage", "verify: --session and --all-sessions exclude each other");
  const archive = chooseArchive(context.settings, options.dest);
  const { verify } = await import("../../session/verify.ts");
  return verify(context, archive, all ? "all" : volumes, { session, allSessions });
}
