// sparsebak tag

import { checkTag } from "../../config/check-tag.ts";
import { AgentError, type ExitReason } from "../../errors.ts";
import type { Selection } from "../../archive/archive-view.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import { type CommandLine, noNames } from "../command-line.ts";
import type { Output } from "../output.ts";

export function addTag({ parser, perform }: CommandLine): void {
  parser.command(
    "tag [volume] [tags..]",
    "tag or protect a session; with --all, the first word is a tag as well",
    (command) =>
      command
        .positional("volume", { type: "string", describe: "volume or pattern" })
        .positional("tags", { type: "string", array: true, default: noNames, describe: "tags to add" })
        .option("session", {
          type: "string",
          requiresArg: true,
          describe: "S_…; without, the newest of each volume",
        })
        .option("remove", {
          type: "boolean",
          default: false,
          describe: "take the tags away instead",
        })
        .option("protect", {
          type: "boolean",
          default: false,
          describe: "the session is never pruned",
        })
        .option("unprotect", { type: "boolean", default: false, describe: "it may be pruned again" }),
    async (options) => perform(options, async (context, output) => runTag(context, output, options)),
  );
}

async function runTag(
  context: Context,
  output: Output,
  options: {
    readonly volume: string | undefined;
    readonly tags: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly session: string | undefined;
    readonly remove: boolean;
    readonly protect: boolean;
    readonly unprotect: boolean;
  },
): Promise<ExitReason> {
  const { volume, all } = options;
  if (volume === undefined && !all) throw new AgentError("usage", "tag: which volume?", "or give --all");
  const words = all && volume !== undefined ? [volume, ...options.tags] : options.tags;
  // What an older version has let in can be taken away all the same.
  if (!options.remove) for (const each of words) checkTag(each);
  if (options.protect && options.unprotect)
    throw new AgentError("usage", "tag: --protect and --unprotect exclude each other");
  const protect = options.protect ? true : options.unprotect ? false : undefined;
  if (words.length === 0 && protect === undefined)
    throw new AgentError("usage", "tag: nothing to do", "give tags, --protect or --unprotect");
  const selection: Selection =
    all || volume === undefined ? { kind: "all" } : { kind: "named", patterns: [volume] };
  const archive = chooseArchive(context.settings, options.dest);
  const { tag } = await import("../../session/tag.ts");
  const done = await tag(context, archive, selection, {
    session: options.session,
    add: options.remove ? [] : words,
    remove: options.remove ? words : [],
    protect,
  });
  for (const each of done) {
    const state = [...each.tags, ...(each.protected ? ["(protected)"] : [])].join(" ") || "no tags";
    const message = `${each.session}: ${state}${each.changed ? "" : ", as before"}`;
    output.volume({ command: "tag", ok: true, message, volume: each.volume, fields: { ...each } });
  }
  return "done";
}
