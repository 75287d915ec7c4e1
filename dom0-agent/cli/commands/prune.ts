// sparsebak prune

import { maxKept, retentionOf } from "../../config/keep-keys.ts";
import type { ArchiveSettings } from "../../config/settings.ts";
import { AgentError, type ExitReason } from "../../errors.ts";
import { reasonOf } from "../../reason.ts";
import { notSwept } from "../../archive/not-swept.ts";
import type { Freed } from "../../prune/freed.ts";
import type { PruneRequest } from "../../prune/choose-sessions.ts";
import { parseBefore, parseSessions } from "../../prune/parse-request.ts";
import { hasLimit, noRetention, type PeriodRule } from "../../config/retention.ts";
import { chooseArchive, selectionOf } from "../../session/choose-volumes.ts";
import type { Context } from "../../context.ts";
import type { PruneResult } from "../../session/prune.ts";
import { type CommandLine, noNames, volumesOf } from "../command-line.ts";
import type { Output } from "../output.ts";
import { bytesText, countText, timeText } from "../../units.ts";

const count = (describe: string) => ({ type: "string", requiresArg: true, describe }) as const;

export function addPrune({ parser, perform }: CommandLine): void {
  parser.command(
    "prune [volumes..]",
    "remove sessions, by name, by date or by what to keep",
    (command) =>
      volumesOf(command, "volumes or patterns; without, those that the settings enable")
        .option("session", {
          type: "string",
          array: true,
          nargs: 1,
          default: noNames,
          requiresArg: true,
          describe: "S_…, or a range S_…..S_…; may be repeated",
        })
        .option("before", {
          type: "string",
          requiresArg: true,
          describe: "only sessions from before YYYY-MM-DD[THH:MM], UTC",
        })
        .option("keep-last", count("keep the newest so many"))
        .option("keep-hourly", count("keep the last of each of the last so many hours that have one"))
        .option("keep-daily", count("the same by day"))
        .option("keep-weekly", count("the same by week"))
        .option("keep-monthly", count("the same by month"))
        .option("keep-yearly", count("the same by year"))
        .option("keep-tag", {
          type: "string",
          array: true,
          nargs: 1,
          default: noNames,
          requiresArg: true,
          describe: "keep sessions with this tag; may be repeated",
        })
        .option("dry-run", {
          type: "boolean",
          default: false,
          describe: "show what goes, what stays and what comes free; change nothing",
        }),
    async (options) => perform(options, async (context, output) => runPrune(context, output, options)),
  );
}

type KeepOptions = Readonly<Record<"keepLast" | `keep${Capitalize<PeriodRule>}`, string | undefined>>;

async function runPrune(
  context: Context,
  output: Output,
  options: KeepOptions & {
    readonly volumes: readonly string[];
    readonly all: boolean;
    readonly dest: string | undefined;
    readonly session: readonly string[];
    readonly before: string | undefined;
    readonly keepTag: readonly string[];
    readonly dryRun: boolean;
  },
): Promise<ExitReason> {
  const archive = chooseArchive(context.settings, options.dest);
  const selection = selectionOf(context.settings, options.volumes, options.all);
  const sessions = options.session.map(parseSessions);
  const before = options.before === undefined ? undefined : parseBefore(options.before);
  const given = keepOptions(options);
  // Named sessions and dates say all; without them, and without rules, it is the settings that say what stays.
  const says = sessions.length > 0 || before !== undefined || hasLimit(given) || given.tags.length > 0;
  const retention = says ? given : (archive.retention ?? noRetention);
  const request: PruneRequest = { sessions, before, retention };
  const { prune } = await import("../../session/prune.ts");
  const result = await prune(context, archive, selection, request, options.dryRun);
  return printPruned(output, archive, result, options.dryRun);
}

function keepOptions(
  options: KeepOptions & { readonly keepTag: readonly string[] },
): PruneRequest["retention"] {
  const checked = (option: string, text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    if (/^\d+$/.test(text) && Number(text) <= maxKept) return Number(text);
    throw new AgentError("usage", `--${option}: found «${text}», wanted 0 to ${maxKept}`);
  };
  const byRule: Readonly<Record<PeriodRule, string | undefined>> = {
    hourly: options.keepHourly,
    daily: options.keepDaily,
    weekly: options.keepWeekly,
    monthly: options.keepMonthly,
    yearly: options.keepYearly,
  };
  return retentionOf(
    checked("keep-last", options.keepLast),
    (rule) => checked(`keep-${rule}`, byRule[rule]),
    options.keepTag,
  );
}

/** Prints what a prune did or would do, a line for each volume. Gives what it came to, and throws what it was stopped by. */
export function printPruned(
  output: Output,
  archive: ArchiveSettings,
  result: PruneResult,
  dryRun: boolean,
): ExitReason {
  const waits = result.swept !== undefined && !(result.swept instanceof Error) && result.swept.waits;
  const free = ({ bytes }: Freed): string => {
    const come = dryRun ? "would come free" : waits ? "come free when the trash time is over" : "come free";
    return `${bytesText(bytes)} of stored data ${come}`;
  };
  const failures: Error[] = [];
  for (const { volume, sessions, freed, error } of result.volumes) {
    if (error !== undefined) {
      failures.push(error);
      const hint = error instanceof AgentError ? error.hint : undefined;
      output.volume({ volume, command: "prune", ok: false, message: error.message, hint });
      continue;
    }
    const going = sessions.filter((each) => each.goes).length;
    const message =
      sessions.length === 0
        ? `shares chunks with them: ${free(freed)}`
        : `${going} of ${countText(sessions.length, "session")} ${dryRun ? "would go" : "removed"}, ${free(freed)}`;
    const fields = {
      archive: archive.name,
      removed: going,
      kept: sessions.length - going,
      freedBytes: freed.bytes,
    };
    output.volume({ volume, command: "prune", ok: true, message, fields });
    if (!dryRun) continue;
    for (const { session, name, goes, why } of sessions) {
      const text = `  ${name}  ${timeText(session.takenAt)}  ${goes ? "goes" : `stays: ${why ?? ""}`}`;
      output.line(text, { type: "session", volume, name, takenAt: session.takenAt, goes, why });
    }
  }
  sayTars(output, result, dryRun);
  if (result.stopped !== undefined) {
    if (!dryRun) output.warn(notSwept(archive.name));
    throw result.stopped;
  }
  if (result.swept instanceof Error) output.warn(notSwept(archive.name, result.swept));
  else if (result.swept !== undefined)
    output.line(
      `${archive.name}: ${bytesText(result.swept.bytes)} given back to the file system, by the destination's own word`,
      { type: "swept", archive: archive.name, ...result.swept },
    );
  return outcome(failures, result);
}

/** A dry run writes nothing, so it can't try what the file system can do. */
function sayTars(output: Output, { volumes, stuckBytes }: PruneResult, dryRun: boolean): void {
  const inTars = volumes.reduce((sum, { freed }) => sum + freed.inTars, 0);
  if (dryRun && inTars > 0)
    output.notice(
      `${bytesText(inTars)} of it lie in tar files that stay: they come free where the file system can give back parts of a file`,
    );
  if (stuckBytes > 0)
    output.notice(
      `${bytesText(stuckBytes)} more lie in tar files that stay, on a file system that can't give back parts of a file: they come free with the last session of each`,
      { stuckBytes },
    );
}

function outcome(failures: readonly Error[], { volumes, swept }: PruneResult): ExitReason {
  const reasons = [...failures, ...(swept instanceof Error ? [swept] : [])].map(reasonOf);
  if (reasons.includes("integrity")) return "integrity";
  if (failures.length > 0) return failures.length < volumes.length ? "partly" : "failed";
  return reasons[0] ?? "done";
}
