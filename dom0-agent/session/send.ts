// A send to one destination: check it, then a session for each volume that has changed (design section 3). One bad
// volume does not stop the others; a destination that is gone stops all.

import { toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason } from "../errors.ts";
import type { Pool } from "../pipeline/pool.ts";
import { makeDirectory } from "../state/atomic-file.ts";
import { takeLock } from "../state/lock.ts";
import { StorageError, type VolumeState } from "../storage/storage.ts";
import { TransportError } from "../transport/transport.ts";
import { type OpenArchive, readIndex, where } from "./archive.ts";
import type { Context } from "./context.ts";
import { openDestination } from "./destination.ts";
import type { MonitorResult } from "./monitor.ts";
import { register } from "./register.ts";
import { type SendOptions, type SentVolume, sendVolume } from "./send-volume.ts";

export interface ArchiveSendOptions extends SendOptions {
  /** What the run's monitor has found; empty where the storage has no snapshots. Called under the archive's lock. */
  readonly monitored: () => Promise<readonly MonitorResult[]>;
  readonly pool: Pool;
}

/** Sends `volumes` to one archive, and reports each. Gives what it came to. */
export async function send(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[],
  { pool, ...options }: ArchiveSendOptions,
): Promise<ExitReason> {
  refuseSealing(settings);
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeLock(paths.lock, `send to ${settings.name}`, 0);
  const failed = new Map<string, Error>();
  const monitored = new Map<string, { readonly source: VolumeState; readonly takenAt: number }>();
  for (const result of await options.monitored()) {
    if (result.ok) monitored.set(result.volume, result);
    else failed.set(result.volume, result.error);
  }
  let open: OpenArchive | undefined;
  try {
    for (const volume of volumes) {
      const failure = failed.get(volume);
      if (failure !== undefined) {
        reportFailure(context, settings, volume, failure);
        continue;
      }
      try {
        open ??= await openForSend(context, settings);
        const known = register(open, volume, context.settings.groups);
        const index = await readIndex(open, known.id);
        const sent = await sendVolume(context, open, pool, known, index, monitored, options);
        context.report.volume(reportOf(context, volume, settings, sent));
        if (sent.sampleFailed)
          failed.set(volume, new AgentError("integrity", "the delta map had missed changes"));
      } catch (error) {
        // The connection may be in the middle of something: the next volume gets a new one.
        await open?.client[Symbol.asyncDispose]();
        open = undefined;
        if (stopsAll(error, context.signal)) throw error;
        failed.set(volume, error as Error);
        reportFailure(context, settings, volume, error as Error);
      }
    }
    await open?.client.close();
  } finally {
    await open?.client[Symbol.asyncDispose]();
  }
  return outcome(failed, volumes.length);
}

/** Sealing is not built yet, and nothing is stored unsealed without having been asked for. */
function refuseSealing(settings: ArchiveSettings): void {
  if (settings.encryption !== "on") return;
  throw new AgentError(
    "usage",
    `archive ${settings.name}: encryption = on: this version can't seal archives`,
    "with encryption = off it stores data that the destination can read",
  );
}

async function openForSend(context: Context, settings: ArchiveSettings): Promise<OpenArchive> {
  const create = async (): Promise<boolean> => {
    if (settings.encryption === "off") return true;
    const what = `make a new archive at ${where(settings)}`;
    const unsealed = "this version stores data unencrypted: the destination can read everything";
    if (!context.unattended && (await context.confirm(`${what}? ${unsealed}`))) return true;
    throw new AgentError(
      "usage",
      `${what}: ${unsealed}`,
      "to agree once and for all, add «encryption = off» to the settings",
    );
  };
  const open = await openDestination(context, settings, "sparsebak.Send", create);
  if (open === undefined) throw new AgentError("failed", `archive ${settings.name}: not made`);
  try {
    await discardLeftovers(context, open);
  } catch (error) {
    await open.client[Symbol.asyncDispose]();
    throw error;
  }
  return open;
}

/** Removes what earlier runs left unfinished. One session may have left several things, which go together. */
async function discardLeftovers(context: Context, open: OpenArchive): Promise<void> {
  const discarded = new Set<string>();
  for (const { directory, name, session } of await open.client.listPending()) {
    const key = `${directory} ${toHex(session)}`;
    if (discarded.has(key)) continue;
    discarded.add(key);
    context.report.notice(`${directory}/${name}: an unfinished session of an earlier run is removed`);
    await open.client.ask("discard", { directory, session });
  }
}

/** What no other volume of the run can get past: a destination that is not there, a foreign archive, a signal. */
function stopsAll(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof TransportError) return true;
  return error instanceof AgentError && error.reason !== "failed";
}

function outcome(failed: ReadonlyMap<string, Error>, volumes: number): ExitReason {
  if (failed.size === 0) return "done";
  if ([...failed.values()].some((error) => error instanceof AgentError && error.reason === "integrity"))
    return "integrity";
  return failed.size < volumes ? "partly" : "failed";
}

function reportFailure(context: Context, { name }: ArchiveSettings, volume: string, error: Error): void {
  const hint = error instanceof StorageError || error instanceof AgentError ? error.hint : undefined;
  const { message } = error;
  context.report.volume({ volume, command: "send", ok: false, message, hint, fields: { archive: name } });
}

function reportOf(
  context: Context,
  volume: string,
  settings: ArchiveSettings,
  sent: SentVolume,
): Parameters<Context["report"]["volume"]>[0] {
  const { session, ...fields } = sent;
  const what = session === undefined ? "unchanged since its last session" : `${sent.kind}, ${session}`;
  const message = context.settings.archives.length > 1 ? `${what}, ${settings.name}` : what;
  return {
    volume,
    command: "send",
    ok: true,
    message,
    fields: { archive: settings.name, session, ...fields },
  };
}
