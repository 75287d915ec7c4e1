// sparsebak check

import { AgentError, type ExitReason } from "../../errors.ts";
import type { ArchiveSettings } from "../../config/settings.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addCheck({ parser, perform }: CommandLine): void {
  parser.command(
    "check",
    "the whole archive: what is missing or damaged, and which sessions that costs",
    (command) =>
      command
        .option("read-data", {
          type: "boolean",
          default: false,
          describe: "read every chunk, instead of believing the destination that it is right",
        })
        .option("repair", {
          type: "boolean",
          default: false,
          describe: "take away what can't be saved, so that the rest is usable",
        })
        .option("yes", { type: "boolean", default: false, describe: "don't ask before repairing" })
        .option("receipt", {
          type: "string",
          requiresArg: true,
          describe: "only whether the archive is at least as new as XXXX-XXXX-XXXX-XXXX of status --receipt",
        }),
    async (options) => perform(options, async (context, output) => runCheck(context, output, options)),
  );
}

interface Options {
  readonly dest: string | undefined;
  readonly readData: boolean;
  readonly repair: boolean;
  readonly yes: boolean;
  readonly receipt: string | undefined;
}

async function runCheck(context: Context, output: Output, options: Options): Promise<ExitReason> {
  const { receipt, readData } = options;
  if (options.yes && !options.repair) throw new AgentError("usage", "check: --yes goes with --repair");
  const archive = chooseArchive(context.settings, options.dest);
  if (receipt !== undefined) {
    if (readData || options.repair)
      throw new AgentError("usage", "check: --receipt excludes --read-data and --repair");
    return runReceipt(context, output, archive, receipt);
  }
  if (!options.repair) {
    const { check } = await import("../../session/check.ts");
    return check(context, archive, { readData });
  }
  if (context.unattended && !options.yes)
    throw new AgentError(
      "usage",
      "check --repair: would ask before it removes",
      "with --yes it does not ask",
    );
  const { repair } = await import("../../session/repair.ts");
  const agrees = async (question: string): Promise<boolean> => options.yes || context.confirm(question);
  return repair(context, archive, { readData, agrees });
}

async function runReceipt(
  context: Context,
  output: Output,
  archive: ArchiveSettings,
  receipt: string,
): Promise<ExitReason> {
  const { checkReceipt } = await import("../../archive/receipt.ts");
  const found = await checkReceipt(context, archive, receipt);
  const newer = found.generation - found.receipt;
  const behind =
    newer === 0 ? "it is the newest" : `${newer} newer ones follow, whose order the receipt can't tell`;
  output.line(`${archive.name}: state ${found.receipt} is in its history; ${behind}`, {
    type: "receipt",
    archive: archive.name,
    ...found,
  });
  return "done";
}
