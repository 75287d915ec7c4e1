// Commands that read the archive volume by volume: one bad volume does not stop the others, a destination that is gone
// stops all; a line and a status for each (design section 3).

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import { lockForReading } from "../state/lock.ts";
import { StorageError } from "../storage/storage.ts";
import { TransportError } from "../transport/transport.ts";
import { type OpenArchive, where } from "../archive/archive.ts";
import { chooseInArchive, indexOf, readView } from "../archive/archive-view.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";
import { isPattern } from "../archive/match-names.ts";
import { ifMovedOn } from "../archive/moved-on.ts";

/** What the work on one volume came to: done, or done and not what one would wish (a difference, damage). */
export interface VolumeOutcome {
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly hint?: string | undefined;
  /** `done` unless said otherwise. A difference is an answer, and no failure. */
  readonly reason?: VolumeReason;
}

type VolumeReason = ExitReason | "differs";

/**
 * Does `work` for each volume, by name or pattern, or for all that the archive has, over one connection while nothing fails. Reports each.
 * Gives `integrity` where any is damaged, `partly` where some failed, `failed` where all did, or none and a volume differs.
 */
export async function eachVolume(
  context: Context,
  settings: ArchiveSettings,
  command: string,
  volumes: readonly string[] | "all",
  work: (open: OpenArchive, index: VolumeIndex) => Promise<VolumeOutcome>,
): Promise<ExitReason> {
  using _readers = await lockForReading(context.state.archive(settings.name), command);
  const reasons: VolumeReason[] = [];
  let open: OpenArchive | undefined;
  try {
    open = await openFor(context, settings, command);
    const names = await namesOf(open, volumes, command);
    for (const volume of names) {
      try {
        open ??= await openFor(context, settings, command);
        const { message, fields, hint, reason = "done" } = await work(open, await indexOf(open, volume));
        const ok = reason !== "integrity";
        const text = ok ? message : `${volume}: ${message}`;
        context.report.volume({ volume, command, ok, message: text, hint, fields });
        reasons.push(reason);
      } catch (cause) {
        const error = await ifMovedOn(context, open, command, cause);
        // The connection may be in the middle of something: the next volume gets a new one.
        await open?.client[Symbol.asyncDispose]();
        open = undefined;
        if (stopsAll(error, context.signal)) throw error;
        reasons.push(error instanceof AgentError ? error.reason : "failed");
        reportFailure(context, command, volume, error as Error);
      }
    }
    await open?.client.close();
  } finally {
    await open?.client[Symbol.asyncDispose]();
  }
  return outcomeOf(reasons);
}

async function openFor(context: Context, settings: ArchiveSettings, command: string): Promise<OpenArchive> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `${command}: there is no archive at ${where(settings)}`, "send makes one");
  return open;
}

/** Names as they are given, patterns as what they match; only then, or for all, every index is read. */
async function namesOf(
  open: OpenArchive,
  volumes: readonly string[] | "all",
  command: string,
): Promise<readonly string[]> {
  if (volumes !== "all" && !volumes.some(isPattern)) return [...new Set(volumes)];
  const view = await readView(open);
  const selection =
    volumes === "all" ? ({ kind: "all" } as const) : ({ kind: "named", patterns: volumes } as const);
  return chooseInArchive(view, selection, command).map((each) => each.index.name);
}

/** What no other volume of the run can get past: a destination that is not there, a signal. */
function stopsAll(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof TransportError) return true;
  return error instanceof AgentError && ["usage", "destination", "locked"].includes(error.reason);
}

function reportFailure(context: Context, command: string, volume: string, error: Error): void {
  const hint = error instanceof StorageError || error instanceof AgentError ? error.hint : undefined;
  const message = error.message.startsWith(volume) ? error.message : `${volume}: ${error.message}`;
  context.report.volume({ volume, command, ok: false, message, hint });
}

function outcomeOf(reasons: readonly VolumeReason[]): ExitReason {
  const bad = reasons.filter((each) => each !== "done" && each !== "differs");
  if (bad.length === 0) return reasons.includes("differs") ? "failed" : "done";
  if (bad.includes("integrity")) return "integrity";
  return bad.length < reasons.length ? "partly" : "failed";
}
