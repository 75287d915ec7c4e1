// sparsebak check

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../session/context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addCheck({ parser, perform }: CommandLine): void {
  parser.command(
    "check",
    "whether the archive is at least as new as a receipt",
    (command) =>
      command.option("receipt", {
        type: "string",
        requiresArg: true,
        describe: "XXXX-XXXX-XXXX-XXXX, as status --receipt printed it",
      }),
    async (options) => perform(options, async (context, output) => runCheck(context, output, options)),
  );
}

async function runCheck(
  context: Context,
  output: Output,
  options: { readonly dest: string | undefined; readonly receipt: string | undefined },
): Promise<ExitReason> {
  if (options.receipt === undefined)
    throw new AgentError("usage", "check: what for? give --receipt", "see sparsebak check --help");
  const archive = chooseArchive(context.settings, options.dest);
  const { checkReceipt } = await import("../../session/receipt.ts");
  const found = await checkReceipt(context, archive, options.receipt);
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
