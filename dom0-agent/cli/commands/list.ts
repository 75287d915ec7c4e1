// sparsebak list

import { AgentError, type ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { ListedSession, ListedVolume } from "../../session/list.ts";
import { type CommandLine, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText, countText, timeText } from "../../units.ts";

export function addList({ parser, perform }: CommandLine): void {
  parser.command(
    "list [volumes..]",
    "what the archive holds: its volumes, or the sessions of those named",
    (command) =>
      volumesOf(command, "volumes whose sessions are listed").option("session", {
        type: "string",
        requiresArg: true,
        describe: "all about one session: S_…, a tag or a uid",
      }),
    async (options) => perform(options, async (context, output) => runList(context, output, options)),
  );
}

async function runList(
  context: Context,
  output: Output,
  options: {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly session: string | undefined;
  },
): Promise<ExitReason> {
  if (options.session !== undefined && options.volumes.length === 0 && !options.all)
    throw new AgentError("usage", "list --session: found no volume, wanted one or more, or --all");
  const archive = chooseArchive(context.settings, options.dest);
  const { list } = await import("../../session/list.ts");
  const volumes = await list(context, archive, options.volumes, options.session);
  if (volumes.length === 0) output.notice(`${archive.name}: no volumes`);
  for (const volume of volumes) {
    if (options.volumes.length === 0 && !options.all) sayVolume(output, volume);
    else if (options.session === undefined) {
      sayVolume(output, volume);
      for (const each of volume.sessions)
        output.line(`  ${sessionLine(each)}`, { type: "session", volume: volume.volume, ...each });
    } else {
      for (const each of volume.sessions)
        output.line(sessionText(volume.volume, each), { type: "session", volume: volume.volume, ...each });
    }
  }
  return "done";
}

function sayVolume(output: Output, { sessions, ...volume }: ListedVolume): void {
  const last = sessions.at(-1);
  const state =
    last === undefined
      ? "no sessions"
      : `${countText(sessions.length, "session")}, last ${last.name}, ${bytesText(last.size)}`;
  output.line(`${volume.volume}: ${state}, ${bytesText(volume.storedBytes)} stored`, {
    type: "volume",
    name: volume.volume,
    uid: volume.id,
    directory: volume.directory,
    sessions: sessions.length,
    last: last?.name,
    storedBytes: volume.storedBytes,
    hidden: volume.hidden,
  });
}

function sessionLine(of: ListedSession): string {
  const marks = [of.form, of.consistency, ...(of.protected ? ["protected"] : []), ...of.tags].join("  ");
  return `${of.name}  ${timeText(of.time)}  ${bytesText(of.size)}  +${bytesText(of.storedBytes)}  ${marks}`;
}

function sessionText(volume: string, of: ListedSession): string {
  const rows: readonly (readonly [string, string])[] = [
    ["uid", of.uid],
    ["sequence", String(of.sequence)],
    ["taken", `${timeText(of.time)} UTC`],
    ["size", `${of.size} bytes (${bytesText(of.size)})`],
    [
      "added",
      `${countText(of.chunks, "chunk")}, ${of.storedBytes} bytes stored (${bytesText(of.storedBytes)})`,
    ],
    ["form", of.form === "tar" ? "one tar file" : "directory of chunk files"],
    ["consistency", consistencies[of.consistency] ?? of.consistency],
    ["protected", of.protected ? "yes: not to be pruned" : "no"],
    ["tags", of.tags.join(" ") || "none"],
    ["map root", of.mapRoot],
  ];
  return `${volume} ${of.name}\n${rows.map(([name, value]) => `  ${name.padEnd(12)}${value}`).join("\n")}`;
}

const consistencies: Readonly<Record<string, string>> = {
  clean: "clean: nothing wrote to the volume",
  crash: "crash: of a running VM, by an atomic snapshot",
  committed: "committed: what a running VM's last start had left",
  file: "file: it did not change while it was read",
};
