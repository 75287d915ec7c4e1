// sparsebak status

import { allArchives } from "../../config/settings.ts";
import type { ExitReason } from "../../errors.ts";
import { chooseArchive } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { CommandLine } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText, durationText } from "../../units.ts";

export function addStatus({ parser, perform }: CommandLine): void {
  parser.command(
    "status",
    "what is tracked, how old each backup is, what a send would cost",
    (command) =>
      command.option("receipt", {
        type: "boolean",
        default: false,
        describe: "print the archive's receipt, to be kept on paper",
      }),
    async (options) =>
      perform(options, async (context, output) =>
        options.receipt
          ? printReceipt(context, output, options.dest)
          : runStatus(context, output, options.dest),
      ),
  );
}

async function printReceipt(context: Context, output: Output, dest: string | undefined): Promise<ExitReason> {
  const archive = chooseArchive(context.settings, dest);
  const { currentReceipt } = await import("../../archive/receipt.ts");
  const { receipt, generation } = currentReceipt(context, archive);
  output.line(receipt, { type: "receipt", archive: archive.name, receipt, generation });
  return "done";
}

async function runStatus(context: Context, output: Output, dest: string | undefined): Promise<ExitReason> {
  const isOne = dest !== undefined && dest !== allArchives;
  const { status } = await import("../../session/status.ts");
  const found = await status(context, isOne ? chooseArchive(context.settings, dest).name : undefined);
  const { dataPercent, metadataPercent } = found.pool;
  if (dataPercent !== undefined && metadataPercent !== undefined) {
    output.line(`pool: data ${dataPercent} %, metadata ${metadataPercent} %`, {
      type: "pool",
      ...found.pool,
    });
  }
  for (const each of found.volumes) {
    const age =
      each.last === undefined
        ? "no session known here, see sparsebak list"
        : `${each.last.name}, current ${durationText((Date.now() - each.last.currentAt) / 1000)} ago`;
    const cost =
      each.toRead === undefined
        ? "a send compares all of it"
        : `at most ${bytesText(each.toRead)} changed since`;
    const state = each.present ? cost : "gone from this machine";
    output.line(
      `${each.volume} (${each.archive}): ${age}; ${state}${each.pending ? "; a send of it was cut short" : ""}`,
      {
        type: "status",
        ...each,
      },
    );
  }
  for (const volume of found.neverSent)
    output.line(`${volume}: no backup known here`, { type: "status", volume, last: null });
  for (const each of found.orphans) {
    output.line(`${each.name}: a snapshot of a volume that is gone`, {
      type: "orphan",
      snapshot: each.name,
      createdAt: each.createdAt,
    });
  }
  return "done";
}
