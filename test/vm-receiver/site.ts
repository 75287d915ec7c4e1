// A place for a receiver to write to: a directory that its settings allow, and a source archive to send there.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import type { Service } from "../../protocol/wire/messages.ts";
import { type AgentClient, type ReceiverOptions, startReceiver } from "../support/agent-client.ts";
import { createTestArchive, type TestArchive, type TestImage } from "../support/archive-writer.ts";
import { tempDir } from "../support/temp-dir.ts";

export interface ReceiverSite extends Disposable {
  /** A scratch directory for everything. */
  readonly path: string;
  /** What is the mountpoint to the receiver. */
  readonly mountpoint: string;
  /** receiver.ini, which allows it. */
  readonly settings: string;
  /** The archive's directory below the mountpoint. */
  readonly archive: string;
  /** Starts a receiver that may write there. */
  start(service?: Service, options?: ReceiverOptions): AgentClient;
}

export const archiveDirectory = "backups";

/** A site in a temporary directory. `mountpoint` is another place than one in there. */
export function receiverSite(mountpoint?: string): ReceiverSite {
  const directory = tempDir();
  const target = mountpoint ?? join(directory.path, "target");
  if (mountpoint === undefined) mkdirSync(target);
  const settings = join(directory.path, "receiver.ini");
  writeFileSync(settings, mountpoint === undefined ? `[receiver]\nplain-directories = ${target}\n` : "");
  return {
    path: directory.path,
    mountpoint: target,
    settings,
    archive: join(target, archiveDirectory),
    start: (service = "sparsebak.Send", options = {}) => startReceiver(service, { settings, ...options }),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** A receiver that may write there, and has answered the hello. */
export async function greeted(site: ReceiverSite, service: Service = "sparsebak.Send"): Promise<AgentClient> {
  const client = site.start(service);
  await client.hello(site.mountpoint, archiveDirectory);
  return client;
}

/** A source archive of one volume, `work`, with a state for each image. */
export function sourceArchive(
  site: ReceiverSite,
  images: readonly TestImage[],
  form: "dir" | "tar" = "dir",
): TestArchive {
  const source = createTestArchive(join(site.path, "source"));
  for (const image of images) source.send({ work: image }, { form });
  return source;
}

/** An image of `chunks` pieces of 64 KiB: random, every fourth all zeros. */
export function randomImage(chunks: number): Uint8Array {
  const image = new Uint8Array(randomBytes(chunks * 65_536));
  for (let i = 3; i < chunks; i += 4) image.fill(0, i * 65_536, (i + 1) * 65_536);
  return image;
}
