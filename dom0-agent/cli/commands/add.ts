// sparsebak add

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseVolumes } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addAdd({ parser, perform }: CommandLine): void {
  parser.command(
    "add <volumes..>",
    "begin to track volumes: enables them in the settings",
    (command) => volumesOf(command, "volumes or patterns"),
    async (options) => perform(options, async (context, output) => runAdd(context, output, options)),
  );
}

async function runAdd(
  context: Context,
  output: Output,
  options: { readonly volumes: readonly string[]; readonly dest: string | undefined },
): Promise<ExitReason> {
  if (options.dest !== undefined)
    throw new AgentError(
      "usage",
      "add: volumes are enabled for all destinations, --dest does not go with it",
    );
  const { settings } = context;
  const volumes = await chooseVolumes(settings, context.storage, options.volumes, false);
  const { add } = await import("../../session/add.ts");
  const added = await add(context, volumes);
  for (const volume of volumes) {
    const message = added.includes(volume) ? `enabled in ${settings.file}` : "enabled already";
    output.volume({ volume, command: "add", ok: true, message });
  }
  return "done";
}
