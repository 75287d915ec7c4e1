// sparsebak send

import { AgentError, type ExitReason } from "../../errors.ts";
import type { ArchiveSettings } from "../../config/settings.ts";
import { noRetention } from "../../config/retention.ts";
import { chooseArchives, chooseVolumes } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { SendOptions } from "../../send/send-volume.ts";
import { type CommandLine, committedOption, noNames, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { printPruned } from "./prune.ts";

export function addSend({ parser, perform }: CommandLine): void {
  parser.command(
    "send [volumes..]",
    "monitor, then back up: new volumes whole, known ones by what changed",
    (command) =>
      volumesOf(command)
        .option("tarfile", {
          type: "boolean",
          default: false,
          describe: "one tar file instead of a directory of chunks",
        })
        .option("tag", {
          type: "string",
          array: true,
          nargs: 1,
          default: noNames,
          requiresArg: true,
          describe: "tag the sessions",
        })
        .option("committed", committedOption),
    async (options) =>
      perform(options, async (context, output) =>
        runSend(context, output, { ...options, tags: options.tag }),
      ),
  );
}

async function runSend(
  context: Context,
  output: Output,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly committed: boolean;
    readonly tarfile: boolean;
    readonly tags: readonly string[];
  },
): Promise<ExitReason> {
  const tags = [...new Set(options.tags)];
  const { checkTags } = await import("../../session/tag.ts");
  checkTags("send", tags);
  const archives = chooseArchives(context.settings, options.dest);
  const volumes = await chooseVolumes(context.settings, context.storage, options.volumes, options.all);
  const { sendRun } = await import("../../send/send-run.ts");
  const { dropExpired } = await import("../../restore/drop-kept.ts");
  await dropExpired(context);
  const settled: SendOptions = {
    form: options.tarfile ? "tar" : "dir",
    committed: options.committed,
    tags,
    startedAt: Date.now(),
  };
  const { healAfterSend } = await import("../../session/heal.ts");
  return sendRun(context, archives, volumes, settled, async (archive) => {
    const healed = await healAfterSend(context, archive);
    if (healed !== "done" || !archive.pruneAfterSend) return healed;
    return pruneAfterSend(context, output, archive, volumes);
  });
}

/** What the settings say is to be kept of the volumes that were sent. */
async function pruneAfterSend(
  context: Context,
  output: Output,
  archive: ArchiveSettings,
  volumes: readonly string[],
): Promise<ExitReason> {
  const { prune } = await import("../../session/prune.ts");
  const request = { sessions: [], before: undefined, retention: archive.retention ?? noRetention };
  const selection = { kind: "enabled", names: volumes } as const;
  try {
    const result = await prune(context, archive, selection, request, false);
    return printPruned(output, archive, result, false);
  } catch (error) {
    // The sessions are sent, and a restore may take hours: what the settings don't keep stays until the next send.
    if (!(error instanceof AgentError) || error.reason !== "locked") throw error;
    context.report.warn(`${error.message}; the next send prunes`);
    return "done";
  }
}
