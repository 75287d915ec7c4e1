// sparsebak list

import type { ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../session/context.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText, timeText } from "../units.ts";

export function addList({ parser, perform }: CommandLine): void {
  parser.command(
    "list [volumes..]",
    "what the archive holds",
    (command) => volumesOf(command),
    async (options) => perform(options, async (context, output) => runList(context, output, options)),
  );
}

async function runList(
  context: Context,
  output: Output,
  options: { readonly volumes: readonly string[]; readonly dest: string | undefined },
): Promise<ExitReason> {
  const archive = chooseArchive(context.settings, options.dest);
  const { list } = await import("../../session/list.ts");
  for (const { volume, directory, sessions } of await list(context, archive, options.volumes)) {
    const last = sessions.at(-1);
    const stored = sessions.reduce((sum, each) => sum + each.storedBytes, 0);
    const summary = `${sessions.length} sessions, ${bytesText(stored)} stored, last ${last?.name ?? "none"}, ${bytesText(last?.size ?? 0)}`;
    output.line(`${volume}: ${summary}`, { type: "list", volume, directory, sessions });
    if (options.volumes.length === 0) continue;
    for (const each of sessions) {
      const tags = each.tags.length === 0 ? "" : `  ${each.tags.join(" ")}`;
      const text = `  ${each.name}  ${timeText(each.takenAt)}  ${bytesText(each.size)}  +${bytesText(each.storedBytes)}  ${each.form}  ${each.consistency}${tags}`;
      output.line(text, { type: "session", volume, ...each });
    }
  }
  return "done";
}
