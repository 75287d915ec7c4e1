// Taking over an archive that this dom0 has no record of: on a new machine, or after its state was lost (design section
// 8, "an old disk with a passphrase"). Nothing of it is believed before the key that the passphrase gave has verified
// header, head and log; whether it is the newest state only a receipt can say.

import type { ArchiveHeader } from "../../protocol/archive/archive-header.ts";
import type { Head } from "../../protocol/archive/head.ts";
import type { Digest } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { archiveKeys } from "../../protocol/seal/keys.ts";
import { masterFromSecret } from "../../protocol/seal/secret.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { archiveSeal } from "../keys/archive-seal.ts";
import { writeMasterKey } from "../keys/master-key.ts";
import { noteCurrent } from "../state/last-session.ts";
import { type ArchiveRecord, type KnownVolume, writeArchiveRecord } from "../state/archive-record.ts";
import { keepHeader } from "../state/kept-headers.ts";
import type { ArchivePaths } from "../state/layout.ts";
import {
  checkHeaderAgrees,
  checkHeaderMac,
  checkHeadMac,
  integrity,
  markOf,
  readHead,
  readHeader,
  readNamedIndex,
} from "./archive.ts";
import type { Client } from "./client.ts";
import { makeDirectory } from "../state/writing.ts";

/** The archive that the receiver shows, with nothing verified by a key yet. */
export async function untrustedArchive(client: Client): Promise<{
  readonly head: Head;
  readonly digest: Digest;
  readonly untrustedHeader: ArchiveHeader;
  readonly headerBytes: Uint8Array;
}> {
  const { head, digest } = await readHead(client, client.hello.archive);
  const { bytes, untrusted } = await readHeader(client, head);
  return { head, digest, untrustedHeader: untrusted, headerBytes: bytes };
}

/** The master key by a passphrase that has a slot, or by its recovery form. Throws AgentError `failed` for a wrong one,
 *  `integrity` for a slot that was altered. */
export function masterFrom(untrusted: ArchiveHeader, secret: string): Uint8Array {
  let master: Uint8Array | undefined;
  try {
    master = masterFromSecret(untrusted, secret);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new AgentError(error.code === "bad-mac" ? "integrity" : "failed", error.message);
  }
  if (master !== undefined) return master;
  const slots = untrusted.slots.length;
  throw new AgentError(
    "failed",
    `open the archive's key: not with this passphrase; the archive has ${slots === 0 ? "none" : slots}`,
    "the recovery form of the key opens it too",
  );
}

/**
 * Verifies the archive under `master` and writes key and record down. `known` is a record that is there, where only the
 * key was lost: then the archive must be that one, and its state is accepted as ever, later. Gives the record.
 */
export async function adoptArchive(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  master: Uint8Array,
  known: ArchiveRecord | undefined,
): Promise<ArchiveRecord> {
  const { head, digest, untrustedHeader, headerBytes } = await untrustedArchive(client);
  const keys = archiveKeys(master, head.archive);
  checkHeaderMac(untrustedHeader, keys);
  checkHeadMac(head, keys);
  const header = untrustedHeader;
  if (known !== undefined) {
    if (!equalBytes(known.uuid, header.uuid))
      throw integrity(`archive ${settings.name}: found another archive, wanted the one of dom0's record`);
    checkHeaderAgrees(header, known);
    keepHeader(paths, head.archiveGeneration, headerBytes);
    writeMasterKey(paths, master);
    return known;
  }
  checkExpected(settings, header.sealed);
  const record: ArchiveRecord = {
    uuid: header.uuid,
    sealed: header.sealed,
    chunkSize: header.chunkSize,
    level: header.level,
    idSeed: header.idSeed,
    head: markOf(head, digest),
    volumes: [],
    groups: [],
  };
  const { opener } = archiveSeal(master, record);
  const volumes: KnownVolume[] = [];
  for (const entry of head.volumes) {
    const { volume, directory } = entry;
    const index = await readNamedIndex(client, entry, header.uuid, opener);
    // A deleted volume of which chunks are still needed has no sessions.
    if (index.sessions.length === 0) continue;
    volumes.push({ name: index.name, id: volume, group: index.group, directory });
    const volumePaths = paths.volume(volume);
    makeDirectory(volumePaths.directory);
    noteCurrent(volumePaths, index);
  }
  const whole = { ...record, volumes };
  keepHeader(paths, head.archiveGeneration, headerBytes);
  writeMasterKey(paths, master);
  writeArchiveRecord(paths, whole);
  return whole;
}

/** An archive that is not sealed is taken over only where the settings say that it is to be one. */
function checkExpected(settings: ArchiveSettings, sealed: boolean): void {
  if (sealed === (settings.encryption !== "off")) return;
  throw new AgentError(
    "integrity",
    `archive ${settings.name}: found ${sealed ? "a sealed" : "an unsealed"} archive, wanted ${sealed ? "an unsealed" : "a sealed"} one by the settings`,
    sealed ? "remove «encryption = off»" : "if that is right, add «encryption = off» to the settings",
  );
}
