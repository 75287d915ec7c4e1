// sparsebak rename

import type { ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addRename({ parser, perform }: CommandLine): void {
  parser.command(
    "rename <from> <to>",
    "give a volume another name in the archive; its sessions stay as they are",
    (command) =>
      command
        .positional("from", { type: "string", demandOption: true, describe: "the volume's name until now" })
        .positional("to", { type: "string", demandOption: true, describe: "its name from now on" }),
    async (options) => perform(options, async (context, output) => runRename(context, output, options)),
  );
}

async function runRename(
  context: Context,
  output: Output,
  options: { readonly from: string; readonly to: string; readonly dest: string | undefined },
): Promise<ExitReason> {
  const { from, to } = options;
  const { rename } = await import("../../session/rename.ts");
  const archive = chooseArchive(context.settings, options.dest);
  await rename(context, archive, from, to);
  const message = `is ${to} from now on`;
  output.volume({ volume: from, command: "rename", ok: true, message, fields: { to } });
  const { file, volumes, archives } = context.settings;
  if (volumes.has(from) && !volumes.has(to))
    output.notice(`${file}: change «${from} = …» in [volumes] to «${to} = …»`);
  if (archives.length > 1) output.notice(`only archive ${archive.name} was changed; --dest names the others`);
  return "done";
}
