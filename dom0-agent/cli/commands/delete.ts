// sparsebak delete

import { AgentError, type ExitReason } from "../../errors.ts";
import type { Selection } from "../../archive/archive-view.ts";
import { chooseArchive, selectionOf } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText, countText } from "../../units.ts";

export function addDelete({ parser, perform }: CommandLine): void {
  parser.command(
    "delete [volumes..]",
    "remove volumes from the archive with all their sessions",
    (command) =>
      volumesOf(command, "volumes or patterns; or --all")
        .option("yes", { type: "boolean", default: false, describe: "don't ask for the names again" })
        .option("local", {
          type: "boolean",
          default: false,
          describe: "only dom0's own state and snapshots; the archive stays as it is",
        }),
    async (options) => perform(options, async (context, output) => runDelete(context, output, options)),
  );
}

async function runDelete(
  context: Context,
  output: Output,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly yes: boolean;
    readonly local: boolean;
  },
): Promise<ExitReason> {
  if (options.volumes.length === 0 && !options.all)
    throw new AgentError("usage", "delete: which volumes?", "name them, or give --all");
  if (options.local) return await forgetLocally(context, output, options);
  if (context.unattended && !options.yes)
    throw new AgentError("usage", "delete: would ask for the volumes' names", "with --yes it does not ask");
  const archive = chooseArchive(context.settings, options.dest);
  const { deleteVolumes, volumesToDelete } = await import("../../session/delete.ts");
  const selection: Selection = selectionOf(context.settings, options.volumes, options.all);
  const names = await volumesToDelete(context, archive, selection);
  if (!options.yes) {
    const { ask } = await import("../ask.ts");
    for (const name of names) {
      const question = `delete ${name} and all its sessions from archive ${archive.name}? Type its name`;
      if ((await ask(question, ": ", context.signal)) === name) continue;
      throw new AgentError("failed", `delete: that is not ${name}; nothing was deleted`);
    }
  }
  for await (const { volume, sessions, freed } of deleteVolumes(context, archive, names)) {
    const message = `deleted, ${countText(sessions, "session")}, ${bytesText(freed.bytes)} of stored data come free`;
    const fields = { sessions, freedBytes: freed.bytes };
    output.volume({ volume, command: "delete", ok: true, message, fields });
    if (context.settings.volumes.get(volume) === true)
      output.notice(`${context.settings.file} enables ${volume}: the next send would make it anew`);
  }
  return "done";
}

async function forgetLocally(
  context: Context,
  output: Output,
  options: { readonly volumes: readonly string[]; readonly dest: string | undefined },
): Promise<ExitReason> {
  const { archives } = context.settings;
  const chosen = options.dest === undefined ? archives : [chooseArchive(context.settings, options.dest)];
  const patterns = options.volumes.length === 0 ? undefined : options.volumes;
  const { deleteLocal } = await import("../../session/delete.ts");
  for (const volume of await deleteLocal(context, chosen, patterns)) {
    const message = "dom0's state of it is gone; the next send compares all of it";
    output.volume({ volume, command: "delete", ok: true, message });
  }
  return "done";
}
