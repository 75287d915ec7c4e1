// Reaching one destination: transport, greeting, archive.

import type { Service } from "../../protocol/wire/messages.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { readArchiveRecord } from "../state/archive-record.ts";
import { transportFor } from "../transport/index.ts";
import { noArchive, type OpenArchive, openArchive } from "./archive.ts";
import { type Client, connect } from "./client.ts";
import type { Context } from "./context.ts";

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
  return connect({
    transport,
    service,
    where: {
      mountpoint: settings.mountpoint,
      directory: settings.directory,
      archive: readArchiveRecord(context.state.archive(settings.name))?.uuid ?? noArchive,
    },
    stallSeconds: context.settings.stallSeconds,
    signal: context.signal,
  });
}

/** Connects, and opens the archive; `create` decides whether one is made where there is none. undefined: there is none.
 *  The client is the caller's to dispose of, by way of the result; on an error it is disposed of here. */
export async function openDestination(
  context: Context,
  settings: ArchiveSettings,
  service: Service,
  create: () => Promise<boolean>,
): Promise<OpenArchive | undefined> {
  const client = await connectTo(context, settings, service);
  try {
    const open = await openArchive(client, settings, context.state.archive(settings.name), create);
    if (open === undefined) await client[Symbol.asyncDispose]();
    return open;
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
}
