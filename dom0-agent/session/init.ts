// init: makes an archive, or takes over one that another dom0, or this one before it lost its state, has made.

import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { readMasterKey } from "../keys/master-key.ts";
import { type ArchiveRecord, readArchiveRecord } from "../state/archive-record.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { takeArchiveLock } from "../state/lock.ts";
import { DamagedStateError } from "../state/record.ts";
import { anotherPlace, type OpenArchive, where } from "../archive/archive.ts";
import type { Context } from "../context.ts";
import { connectTo, openDestination } from "../archive/destination.ts";
import { adoptArchive, masterFrom, untrustedArchive } from "../archive/join-archive.ts";
import { type FirstPassphrase, newArchive, sayRecovery } from "../archive/new-archive.ts";
import { makeDirectory } from "../state/writing.ts";

/** Makes the archive of `settings`, or goes on with one whose making was cut short; gives which. Throws AgentError where
 *  there is one, and where passphrases are said for one that an earlier run has made with others. */
export async function initArchive(
  context: Context,
  settings: ArchiveSettings,
  first: FirstPassphrase,
): Promise<"made" | "gone-on"> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeArchiveLock(paths.lock, `init of ${settings.name}`);
  const record = readArchiveRecord(paths);
  if (record !== undefined && record.head.generation > 0)
    throw hasAlready("init: this dom0 has an archive", settings);
  let outcome: "made" | "gone-on" = "gone-on";
  const open = await openDestination(context, settings, "sparsebak.Send", async () => {
    outcome = "made";
    return newArchive(context, settings, first);
  });
  await open?.client.close();
  await open?.client[Symbol.asyncDispose]();
  if (open !== undefined && outcome === "gone-on") sayGoneOn(context, open, first);
  return outcome;
}

/** Of an archive that is there already: its recovery form, which the run that made it may not have come to show. */
function sayGoneOn(context: Context, { settings, paths, record }: OpenArchive, first: FirstPassphrase): void {
  if (first.kind !== "ask")
    throw new AgentError(
      "failed",
      `init: the archive at ${where(settings)} is there already, made by an earlier run; its passphrases are those of then`,
      "sparsebak key --list shows them, key --add and key --change-passphrase change them, key --show-recovery prints its key",
    );
  sayRecovery(context, record.sealed, readMasterKey(paths));
}

/** Takes the archive at the destination over; gives how many volumes it has. */
export async function joinArchive(
  context: Context,
  settings: ArchiveSettings,
  given: string | undefined,
): Promise<{ readonly volumes: number; readonly generation: number }> {
  const paths = context.state.archive(settings.name);
  makeDirectory(paths.directory);
  using _lock = await takeArchiveLock(paths.lock, `init of ${settings.name}`);
  const known = usableRecord(paths, context);
  if (known !== undefined && keyIsThere(paths))
    throw hasAlready("init --join: this dom0 has the archive", settings);
  await using client = await connectTo(context, settings, "sparsebak.Receive");
  if (client.hello.generation === 0)
    throw new AgentError("failed", `init --join: there is no archive at ${where(settings)}`);
  const { untrustedHeader } = await untrustedArchive(client);
  if (given === undefined && context.unattended)
    throw new AgentError(
      "usage",
      "init --join: it needs the passphrase or the recovery form",
      "give --passphrase-file, or run it without -u",
    );
  const secret = given ?? (await context.askPassphrase("known"));
  const master = masterFrom(untrustedHeader, secret);
  const record = await adoptArchive(client, settings, paths, master, known);
  await client.close();
  return { volumes: record.volumes.length, generation: record.head.generation };
}

function hasAlready(what: string, { name }: ArchiveSettings): AgentError {
  return new AgentError("failed", `${what} «${name}» already`, `send goes on with it. ${anotherPlace}`);
}

function usableRecord(paths: ArchivePaths, context: Context): ArchiveRecord | undefined {
  try {
    const record = readArchiveRecord(paths);
    return record !== undefined && record.head.generation > 0 ? record : undefined;
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    context.report.warn(`${error.message}; it is made again from the archive`);
    return undefined;
  }
}

function keyIsThere(paths: ArchivePaths): boolean {
  try {
    readMasterKey(paths);
    return true;
  } catch (error) {
    if (error instanceof AgentError) return false;
    throw error;
  }
}
