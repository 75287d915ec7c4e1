// An archive as dom0 sees it through a receiver: opened only if it is the one that dom0 knows, in a state that dom0
// made or can verify (design section 8, "Keys" and "Rollback"). What dom0 does not know it does not believe.

import { randomBytes } from "node:crypto";
import {
  type ArchiveHeader,
  archiveHeaderMacInput,
  decodeArchiveHeader,
  encodeArchiveHeader,
} from "../../protocol/archive/archive-header.ts";
import { decodeHead, type Head, headMacInput, maxHeadBytes, noChain } from "../../protocol/archive/head.ts";
import { decodeIndex, maxIndexBytes, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { fileDigest, noVolume } from "../../protocol/archive/prefix.ts";
import type { ArchiveUuid, Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { MetaName } from "../../protocol/wire/messages.ts";
import { type ArchiveKeys, archiveKeys, logEntry, macFits, macOf } from "../../protocol/seal/keys.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import {
  type ArchiveRecord,
  createMasterKey,
  type HeadMark,
  readArchiveRecord,
  readIntent,
  readMasterKey,
  type StepNote,
  writeArchiveRecord,
} from "../state/archive-record.ts";
import { removeFile } from "../state/atomic-file.ts";
import { afterStep } from "../state/after-step.ts";
import type { ArchivePaths } from "../state/layout.ts";
import type { Client } from "./client.ts";
import { buildHead } from "./build-head.ts";

/** Everything about one archive that a command works with. */
export interface OpenArchive {
  readonly settings: ArchiveSettings;
  readonly paths: ArchivePaths;
  readonly keys: ArchiveKeys;
  readonly client: Client;
  /** The head that is current, verified. Replaced by commits. */
  head: Head;
  headDigest: Digest;
  /** dom0's record; replaced with it. */
  record: ArchiveRecord;
  /** The bytes of `archive`, or of `archive.N` where its key slots have been changed. */
  header: Uint8Array;
}

export const noSession: SessionUid = new Uint8Array(16) as SessionUid;
const noDigest = new Uint8Array(32) as Digest;
export const noArchive: ArchiveUuid = new Uint8Array(16) as ArchiveUuid;
/** Bytes of the largest `archive` file. */
const maxArchiveHeaderBytes = 4096;

/** Names a file of the archive that belongs to no volume or session. */
export function metaOf(
  kind: MetaName["kind"],
  generation: number,
  volume: VolumeId = noVolume,
  session: SessionUid = noSession,
): MetaName {
  return { kind, volume, session, generation: generation as Generation };
}

/**
 * Opens the archive behind `client`, or makes it where neither side knows one and `create` says so. Throws AgentError
 * `integrity` where what the VM shows is not what dom0 knows.
 */
export async function openArchive(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  create: () => Promise<boolean>,
): Promise<OpenArchive | undefined> {
  const record = readArchiveRecord(paths);
  const { hello } = client;
  if (record === undefined || record.head.generation === 0) {
    if (hello.generation !== 0 && !equalBytes(record?.uuid ?? noArchive, hello.archive)) {
      throw new AgentError(
        "integrity",
        `archive ${settings.name}: found an archive of ${hello.generation} generations at ${where(settings)}, which this dom0 does not know`,
        "use another destdir; an archive is never written to without the state and key that it was made with",
      );
    }
    if (hello.generation === 0) {
      if (!(await create())) return undefined;
      return createArchive(client, settings, paths, record);
    }
  }
  if (record === undefined) return undefined;
  if (hello.generation === 0 || !equalBytes(record.uuid, hello.archive)) {
    throw new AgentError(
      "integrity",
      `archive ${settings.name}: found ${hello.generation === 0 ? "no archive" : "another archive"} at ${where(settings)}, wanted the one that this dom0 has sent ${record.head.generation} generations to`,
      "attach the right drive; nothing was written",
    );
  }
  const keys = archiveKeys(readMasterKey(paths), record.uuid);
  const { head, digest } = await readHead(client, record.uuid, hello.generation, hello.headDigest, keys);
  const open: OpenArchive = {
    settings,
    paths,
    keys,
    client,
    head,
    headDigest: digest,
    record,
    header: await readHeader(client, record, head, keys),
  };
  acceptHead(open);
  return open;
}

/** A head by its generation, with its MAC checked. */
async function readHead(
  client: Client,
  uuid: ArchiveUuid,
  generation: Generation,
  digest: Digest,
  keys: ArchiveKeys,
): Promise<{ readonly head: Head; readonly digest: Digest }> {
  const raw = await client.readWhole(metaOf("head", generation), maxHeadBytes);
  if (raw === undefined)
    throw integrity(`head ${generation}: the receiver announced it and does not have it`);
  const head = verified(`head ${generation}`, () => decodeHead(raw, { archive: uuid, generation }));
  if (!equalBytes(fileDigest(raw), digest))
    throw integrity(`head ${generation}: it is not the one that was announced`);
  if (!macFits(keys.head, headMacInput(head), head.mac)) {
    throw integrity(
      `head ${generation}: its authentication code does not fit: altered, or made with another key`,
    );
  }
  return { head, digest: fileDigest(raw) };
}

async function readHeader(
  client: Client,
  record: ArchiveRecord,
  head: Head,
  keys: ArchiveKeys,
): Promise<Uint8Array> {
  const raw = await client.readWhole(metaOf("archive", head.archiveGeneration), maxArchiveHeaderBytes);
  if (raw === undefined) throw integrity("archive header: the receiver does not have it");
  const header = verified("archive header", () => decodeArchiveHeader(raw));
  if (
    !macFits(keys.header, archiveHeaderMacInput(header), header.mac) ||
    !equalBytes(fileDigest(raw), head.archiveDigest)
  ) {
    throw integrity("archive header: it is not the one that dom0 made");
  }
  if (
    header.sealed !== record.sealed ||
    header.chunkSize !== record.chunkSize ||
    !equalBytes(header.idSeed, record.idSeed)
  ) {
    throw integrity("archive header: it does not say what dom0 remembers");
  }
  return raw;
}

/**
 * Accepts the head that dom0 remembers, or one that descends from it: a verified head's log holds an entry of every
 * generation before it. So is the one accepted that dom0 was about to make when it lost the connection; then its own
 * records follow that step now.
 */
function acceptHead(open: OpenArchive): void {
  const { head, record, paths, keys } = open;
  const intent = readIntent(paths);
  const isAt = (mark: HeadMark): boolean =>
    head.generation === mark.generation && equalBytes(head.chain, mark.chain);
  const descendsFrom = (mark: HeadMark): boolean => {
    const entry = head.log[mark.generation - 1];
    return (
      head.generation > mark.generation &&
      entry !== undefined &&
      equalBytes(entry, logEntry(keys, mark.generation, mark.chain))
    );
  };
  const accepted =
    isAt(record.head) || descendsFrom(record.head) || (record.head.generation === 0 && head.generation === 1);
  if (!accepted) {
    const how = head.generation < record.head.generation ? "an older state" : "a state that does not follow";
    throw new AgentError(
      "integrity",
      `archive ${open.settings.name}: found ${how} (generation ${head.generation}), wanted generation ${record.head.generation} or one made from it`,
      "an older copy of the drive, or somebody has altered it; nothing was written",
    );
  }
  const followed = intent !== undefined && (isAt(intent.head) || descendsFrom(intent.head));
  const known = followed ? afterStep(paths, record, intent.step) : record;
  open.record = { ...known, head: markOf(head, open.headDigest) };
  writeArchiveRecord(paths, open.record);
  if (intent !== undefined) removeFile(paths.intent);
}

/** What dom0 remembers of a head. */
export function markOf(head: Head, digest: Digest): HeadMark {
  return { generation: head.generation, digest, chain: head.chain };
}

/** A volume's index as of the current head; undefined for a volume that the archive does not have. */
export async function readIndex(open: OpenArchive, volume: VolumeId): Promise<VolumeIndex | undefined> {
  const entry = open.head.volumes.find((each) => equalBytes(each.volume, volume));
  if (entry === undefined) return undefined;
  const raw = await open.client.readWhole(metaOf("index", entry.indexGeneration, volume), maxIndexBytes);
  const what = `index.${entry.indexGeneration} of ${entry.directory}`;
  if (raw === undefined) throw integrity(`${what}: the receiver does not have it`);
  if (!equalBytes(fileDigest(raw), entry.indexDigest))
    throw integrity(`${what}: it is not the one that the head names`);
  return verified(what, () =>
    decodeIndex(raw, { archive: open.record.uuid, volume, generation: entry.indexGeneration }),
  );
}

/** Writes key and record first, so that a creation that was cut short is gone on with and never forgotten. */
async function createArchive(
  client: Client,
  settings: ArchiveSettings,
  paths: ArchivePaths,
  known: ArchiveRecord | undefined,
): Promise<OpenArchive> {
  const master = known === undefined ? createMasterKey(paths) : readMasterKey(paths);
  const record: ArchiveRecord = known ?? {
    uuid: new Uint8Array(randomBytes(16)) as ArchiveUuid,
    sealed: false,
    chunkSize: settings.chunkSize,
    level: settings.level,
    idSeed: new Uint8Array(randomBytes(32)),
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
    slots: [],
  };
  const header = encodeArchiveHeader({ ...fields, mac: macOf(keys.header, archiveHeaderMacInput(fields)) });
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
    client,
    head: made.head,
    headDigest: made.digest,
    record,
    header,
  };
  await client.put(metaOf("head", 1), made.bytes.length, made.digest, [made.bytes]);
  await commitHead(open, { generation: 0 as Generation, digest: noDigest }, made);
  return open;
}

/** Asks for the commit of a head that was put, and remembers it with what `step` changes in dom0's own records. */
export async function commitHead(
  open: OpenArchive,
  base: { readonly generation: Generation; readonly digest: Digest },
  made: { readonly head: Head; readonly digest: Digest },
  step?: StepNote,
): Promise<void> {
  const done = await open.client.ask("commit", {
    base: base.generation,
    baseDigest: base.digest,
    headDigest: made.digest,
  });
  if (done.generation !== made.head.generation || !equalBytes(done.headDigest, made.digest)) {
    throw integrity(
      `commit: the receiver says that it made generation ${done.generation}, wanted ${made.head.generation}`,
    );
  }
  open.head = made.head;
  open.headDigest = made.digest;
  const known = step === undefined ? open.record : afterStep(open.paths, open.record, step);
  open.record = { ...known, head: markOf(made.head, made.digest) };
  writeArchiveRecord(open.paths, open.record);
}

/** Where an archive is, for messages. */
export function where(settings: ArchiveSettings): string {
  const path =
    settings.directory === "" ? settings.mountpoint : `${settings.mountpoint}/${settings.directory}`;
  return settings.destvm === "none" ? path : `${settings.destvm}:${path}`;
}

function integrity(message: string): AgentError {
  return new AgentError("integrity", message);
}

/** Runs a decoder; what it refuses is a matter of integrity. */
export function verified<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof FormatError)
      throw new AgentError("integrity", `${what}: ${error.message}`, undefined, { cause: error });
    throw error;
  }
}
