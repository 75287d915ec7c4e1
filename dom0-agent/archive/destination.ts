// Reaching one destination: transport, greeting, archive.

import type { ArchiveUuid } from "../../protocol/archive/types.ts";
import type { Service } from "../../protocol/wire/messages.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { readArchiveRecord } from "../state/archive-record.ts";
import { transportFor } from "../transport/index.ts";
import { DamagedStateError } from "../state/record.ts";
import { integrity, metaOf, noArchive, type OpenArchive } from "./archive.ts";
import { type Client, connect } from "./client.ts";
import type { Context } from "../context.ts";
import type { NewArchive } from "./create-archive.ts";
import { openArchive } from "./open-archive.ts";

/** The receiver's program beside ours: a bundle where we are one, its source where we run from source. */
function receiverProgram(): `/${string}` {
  const file = import.meta.url.endsWith(".ts") ? "../../vm-receiver/service/main.ts" : "./receiver.mjs";
  return new URL(file, import.meta.url).pathname as `/${string}`;
}

/** Connects to the service of an archive's destination. */
export async function connectTo(
  context: Context,
  settings: ArchiveSettings,
  service: Service,
): Promise<Client> {
  const transport = transportFor(settings.destvm, {
    startVm: context.settings.startVm,
    local: { receiver: receiverProgram(), settings: context.settings.receiverSettings },
  });
  const client = await connect({
    transport,
    service,
    where: {
      mountpoint: settings.mountpoint,
      directory: settings.directory,
      archive: knownUuid(context, settings),
    },
    stallSeconds: context.settings.stallSeconds,
    signal: context.signal,
  });
  const said = new Set<string>();
  client.onCopyUsed = (why) => {
    if (said.has(why)) return;
    said.add(why);
    context.report.warn(
      `${why}; its second copy is used. The destination's medium may be failing: see sparsebak check`,
    );
  };
  return client;
}

/** For the receiver to know what is looked for; it decides nothing, so a damaged record is no matter here. */
function knownUuid(context: Context, settings: ArchiveSettings): ArchiveUuid {
  try {
    return readArchiveRecord(context.state.archive(settings.name))?.uuid ?? noArchive;
  } catch (error) {
    if (error instanceof DamagedStateError) return noArchive;
    throw error;
  }
}

/** Connects, and opens the archive; `create` decides whether one is made where there is none. undefined: there is none.
 *  The client is the caller's to dispose of, by way of the result; on an error it is disposed of here. */
export async function openDestination(
  context: Context,
  settings: ArchiveSettings,
  service: Service,
  create: () => Promise<NewArchive | false>,
): Promise<OpenArchive | undefined> {
  const client = await connectTo(context, settings, service);
  try {
    const open = await openArchive(client, settings, context.state.archive(settings.name), {
      create,
      acceptRollback: async (what) => context.acceptRollback(what),
      warn: (message) => context.report.warn(message),
      // Everything that changes an archive takes its lock first.
      holdsLock: service === "sparsebak.Send" || service === "sparsebak.Prune",
    });
    if (open === undefined) await client[Symbol.asyncDispose]();
    else await useKeptHeader(context, open, service);
    return open;
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where the receiver has lost the header and dom0 has not: a reader goes on with dom0's own, sparsebak.Prune gets it
 *  back, by the digest that the verified head has of it, and nothing is sent to an archive without one. */
async function useKeptHeader(context: Context, open: OpenArchive, service: Service): Promise<void> {
  const { head, header, headerLost, client } = open;
  if (headerLost === undefined) return;
  const what = `archive header: ${headerLost}`;
  if (service === "sparsebak.Prune") {
    await client.put(metaOf("archive", head.archiveGeneration), header.length, head.archiveDigest, [header]);
    context.report.warn(`${what}; put back from dom0's own copy`);
  } else if (service === "sparsebak.Receive")
    context.report.warn(`${what}; gone on with dom0's own copy, which sparsebak check --repair puts back`);
  else throw integrity(what, "sparsebak check --repair puts dom0's own copy of it back");
}
