// Making an archive: key and record first, so that a creation that was cut short is gone on with and never forgotten;
// then the header with its key slots, and the first head, which is what makes it an archive.

import { randomBytes } from "node:crypto";
import {
  type ArchiveHeader,
  archiveHeaderMacInput,
  encodeArchiveHeader,
} from "../../protocol/archive/archive-header.ts";
import { noChain } from "../../protocol/archive/head.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ArchiveUuid, Generation } from "../../protocol/archive/types.ts";
import { archiveKeys, macOf } from "../../protocol/seal/keys.ts";
import { makeSlot } from "../../protocol/seal/slot.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { archiveSeal } from "../keys/archive-seal.ts";
import { newMasterKey } from "../keys/master-key.ts";
import { type ArchiveRecord, writeArchiveRecord } from "../state/archive-record.ts";
import { keepHeader } from "../state/kept-headers.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { commitHead, metaOf, noDigest, type OpenArchive } from "./archive.ts";
import { buildHead } from "./build-head.ts";
import type { Client } from "./client.ts";

/** What an archive is to be. */
export interface NewArchive {
  readonly sealed: boolean;
  /** One slot for each; without any, the key file and the recovery form are all there is. */
  readonly passphrases: readonly string[];
  /** Told the master key once the archive is there: for its recovery form. */
  readonly onMade: (master: Uint8Array) => void;
}

/** Makes it; `known` is what a creation that was cut short has left. */
export async function createArchive(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  known: ArchiveRecord | undefined,
  wanted: NewArchive,
): Promise<OpenArchive> {
  const master = newMasterKey(paths);
  const record: ArchiveRecord = {
    uuid: known?.uuid ?? (new Uint8Array(randomBytes(16)) as ArchiveUuid),
    sealed: wanted.sealed,
    chunkSize: settings.chunkSize,
    level: settings.level,
    idSeed: wanted.sealed ? new Uint8Array(32) : new Uint8Array(randomBytes(32)),
    head: { generation: 0 as Generation, digest: noDigest, chain: noChain },
    volumes: [],
    groups: [],
  };
  writeArchiveRecord(paths, record);
  const keys = archiveKeys(master, record.uuid);
  const fields: Omit<ArchiveHeader, "mac"> = {
    uuid: record.uuid,
    chunkSize: record.chunkSize,
    compression: "zstd",
    level: record.level,
    sealed: record.sealed,
    createdAt: Date.now(),
    idSeed: record.idSeed,
    slots: wanted.passphrases.map((each) => makeSlot(master, each, record.uuid)),
  };
  const header = encodeArchiveHeader({ ...fields, mac: macOf(keys.header, archiveHeaderMacInput(fields)) });
  keepHeader(paths, 0 as Generation, header);
  await client.put(metaOf("archive", 0), header.length, fileDigest(header), [header]);
  const made = buildHead(keys, record.uuid, undefined, {
    createdAt: fields.createdAt,
    archiveGeneration: 0 as Generation,
    archiveDigest: fileDigest(header),
    volumes: [],
  });
  const open: OpenArchive = {
    settings,
    paths,
    keys,
    seal: archiveSeal(master, record),
    client,
    head: made.head,
    headDigest: made.digest,
    record,
    header,
  };
  await client.put(metaOf("head", 1), made.bytes.length, made.digest, [made.bytes]);
  await commitHead(open, { generation: 0 as Generation, digest: noDigest }, made);
  client.sealedOnly = record.sealed;
  wanted.onMade(master);
  return open;
}
