// A send to one destination: check it, then a session for each volume that has changed (design section 3). One bad
// volume does not stop the others; a destination that is gone stops all.

import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError, type ExitReason, UnansweredError } from "../errors.ts";
import type { Pending } from "../../protocol/wire/messages.ts";
import type { Pool } from "../pipeline/pool.ts";
import { takeArchiveLock } from "../state/lock.ts";
import { StorageError } from "../storage/storage.ts";
import { TransportError } from "../transport/transport.ts";
import { type OpenArchive, readIndex } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import type { NewArchive } from "../archive/create-archive.ts";
import { openDestination } from "../archive/destination.ts";
import { discardAll, leftoversOf, usableLeftovers } from "./leftovers.ts";
import type { MonitoredVolume, MonitorResult } from "../monitor/monitor.ts";
import { newArchive } from "../archive/new-archive.ts";
import { register } from "../archive/register.ts";
import { isFull } from "./salvage.ts";
import { freeTime } from "../archive/session-name.ts";
import { type SendOptions, type SentVolume, sendVolume } from "./send-volume.ts";
import { makeDirectory } from "../state/writing.ts";

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
  options: ArchiveSendOptions,
): Promise<ExitReason> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeArchiveLock(paths.lock, `send to ${settings.name}`);
  return await sendLocked(context, settings, volumes, options);
}

/** The same, for a command that has the archive's lock. */
export async function sendLocked(
  context: Context,
  settings: ArchiveSettings,
  volumes: readonly string[],
  { pool, ...options }: ArchiveSendOptions,
): Promise<ExitReason> {
  const failed = new Map<string, Error>();
  const monitored = new Map<string, MonitoredVolume>();
  for (const result of await options.monitored()) {
    if (result.ok) monitored.set(result.volume, result);
    else failed.set(result.volume, result.error);
  }
  await using destination = openLater(context, settings);
  let startedAt: number | undefined;
  for (const volume of volumes) {
    const failure = failed.get(volume);
    if (failure !== undefined) {
      reportFailure(context, settings, volume, failure);
      continue;
    }
    try {
      await checkPresent(context, volume, monitored);
      const sent = await sendOrMakeRoom(context, destination, async ({ open, leftovers }) => {
        const known = await register(open, volume, context.settings.groups);
        const index = await readIndex(open, known.id);
        startedAt ??= await freeTime(open, volumes, leftovers, options.startedAt);
        const own = { ...options, startedAt, leftovers: leftoversOf(known, leftovers) };
        return sendVolume(context, open, pool, known, index, monitored, own);
      });
      context.report.volume(reportOf(context, volume, settings, sent));
      if (sent.sampleFailed)
        failed.set(volume, new AgentError("integrity", "the delta map had missed changes"));
    } catch (error) {
      if (stopsAll(error, destination, context.signal)) throw error;
      failed.set(volume, error as Error);
      reportFailure(context, settings, volume, error as Error);
    }
  }
  await destination.close();
  return outcome(failed, volumes.length);
}

/** The destination of a send: connected when it is first asked for, and anew when a volume has failed. */
interface Destination extends AsyncDisposable {
  get(): Promise<Connected>;
  /** What get() has thrown last. */
  readonly failure: unknown;
  /** The connection may be in the middle of something: the next one to ask gets a new one. */
  drop(): Promise<void>;
  /** Says goodbye. */
  close(): Promise<void>;
}

interface Connected {
  readonly open: OpenArchive;
  /** What earlier sends have left, and dom0 has journals of. */
  readonly leftovers: readonly Pending[];
}

function openLater(context: Context, settings: ArchiveSettings): Destination {
  let open: OpenArchive | undefined;
  let leftovers: readonly Pending[] = [];
  let failure: unknown;
  const drop = async (): Promise<void> => {
    const dropped = open;
    open = undefined;
    await dropped?.client[Symbol.asyncDispose]();
  };
  return {
    get: async () => {
      try {
        if (open === undefined) {
          open = await openForSend(context, settings);
          leftovers = await usableLeftovers(context, open);
        }
        return { open, leftovers };
      } catch (error) {
        failure = error;
        throw error;
      }
    },
    get failure() {
      return failure;
    },
    drop,
    close: async () => {
      await open?.client.close();
    },
    [Symbol.asyncDispose]: drop,
  };
}

/**
 * Sends a volume. Where the destination has no room, everything that was never committed is removed from it; if
 * earlier sends had left something there, which this one can then not go on with, the volume is sent once more.
 */
async function sendOrMakeRoom(
  context: Context,
  destination: Destination,
  sendOne: (connected: Connected) => Promise<SentVolume>,
): Promise<SentVolume> {
  let leftBefore = 0;
  try {
    const connected = await destination.get();
    leftBefore = connected.leftovers.length;
    return await sendOne(connected);
  } catch (error) {
    await destination.drop();
    if (!isFull(error) || !(await makeRoom(context, destination)) || leftBefore === 0) throw error;
  }
  try {
    return await sendOne(await destination.get());
  } catch (error) {
    await destination.drop();
    if (isFull(error)) await makeRoom(context, destination);
    throw error;
  }
}

/** True when something was removed. What fails here is not what the user has to hear of: the drive is full. */
async function makeRoom(context: Context, destination: Destination): Promise<boolean> {
  try {
    const { open } = await destination.get();
    const removed = await discardAll(open);
    if (removed > 0)
      context.report.notice("the destination is full: what interrupted sends have left is removed");
    // Listed anew, the leftovers are none.
    await destination.close();
    await destination.drop();
    return removed > 0;
  } catch {
    await destination.drop();
    return false;
  }
}

async function openForSend(context: Context, settings: ArchiveSettings): Promise<OpenArchive> {
  const create = async (): Promise<NewArchive> => newArchive(context, settings, { kind: "ask" });
  const open = await openDestination(context, settings, "sparsebak.Send", create);
  if (open === undefined) throw new AgentError("failed", `archive ${settings.name}: not made`);
  return open;
}

/** A name that is mistyped must not become a volume of dom0's record. Throws StorageError `gone` or `unusable`. */
async function checkPresent(
  context: Context,
  volume: string,
  monitored: ReadonlyMap<string, unknown>,
): Promise<void> {
  if (monitored.has(volume)) return;
  const { volumes, unusable } = await context.storage.survey([volume]);
  if (volumes.has(volume)) return;
  const why = unusable.get(volume);
  if (why !== undefined) throw new StorageError("unusable", `${volume}: ${why}`);
  throw new StorageError("gone", `${volume}: there is no such volume`);
}

/** What no other volume of the run can get past: a destination that is not there, a foreign archive, an archive that nobody
 *  gives a passphrase for, a signal. What is damaged in an archive that could be opened is a matter of its volume. */
function stopsAll(error: unknown, { failure }: Destination, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof TransportError || error instanceof UnansweredError) return true;
  if (!(error instanceof AgentError) || error.reason === "failed") return false;
  return error.reason !== "integrity" || error === failure;
}

function outcome(failed: ReadonlyMap<string, Error>, volumes: number): ExitReason {
  if (failed.size === 0) return "done";
  if ([...failed.values()].some((error) => error instanceof AgentError && error.reason === "integrity"))
    return "integrity";
  return failed.size < volumes ? "partly" : "failed";
}

function reportFailure(context: Context, { name }: ArchiveSettings, volume: string, error: Error): void {
  const hint = error instanceof StorageError || error instanceof AgentError ? error.hint : undefined;
  const message = error.message.startsWith(`${volume}: `) ? error.message : `${volume}: ${error.message}`;
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
