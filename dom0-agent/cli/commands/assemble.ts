// sparsebak assemble

import { isVolumeName } from "../../../protocol/archive/names.ts";
import { isRelativePath } from "../../../protocol/wire/messages.ts";
import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText } from "../../units.ts";

export function addAssemble({ parser, perform }: CommandLine): void {
  parser.command(
    "assemble <volumes..>",
    "have the backup VM build a volume's image there",
    (command) =>
      volumesOf(command, "one volume, by its name")
        .option("session", {
          type: "string",
          requiresArg: true,
          describe: "S_…, its beginning, a tag or a uid; without, the last",
        })
        .option("save-to", {
          type: "string",
          default: "",
          requiresArg: true,
          describe: "path below the destination's mountpoint",
        })
        .option("reveal", {
          type: "boolean",
          default: false,
          describe: "give the VM the key that reads this volume, for good (sealed archives)",
        }),
    async (options) => perform(options, async (context, output) => runAssemble(context, output, options)),
  );
}

async function runAssemble(
  context: Context,
  output: Output,
  options: {
    readonly volumes: readonly string[];
    readonly dest: string | undefined;
    readonly session: string | undefined;
    readonly saveTo: string;
    readonly reveal: boolean;
  },
): Promise<ExitReason> {
  const [volume] = options.volumes;
  if (volume === undefined || options.volumes.length !== 1 || !isVolumeName(volume)) {
    throw new AgentError("usage", `assemble: found ${options.volumes.length} volumes, wanted one`);
  }
  const { session, saveTo, reveal } = options;
  if (!isRelativePath(saveTo))
    throw new AgentError(
      "usage",
      `assemble: --save-to: found «${saveTo}», wanted a path below the destination's mountpoint, without . and ..`,
    );
  const archive = chooseArchive(context.settings, options.dest);
  const { assemble } = await import("../../session/assemble.ts");
  const done = await assemble(context, archive, { volume, session, saveTo, reveal });
  const text = `${done.session}, ${bytesText(done.size)}, SHA-256 ${done.imageDigest}, in ${done.image}`;
  output.line(`${volume}: by the destination's own word: ${text}`, { type: "assemble", volume, ...done });
  return "done";
}
