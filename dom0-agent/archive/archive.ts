// An archive as dom0 sees it through a receiver: what its files are called, and that each is what dom0's key or a verified
// head says that it is (design section 8, "Keys"). What dom0 does not know it does not believe.

import {
  type ArchiveHeader,
  archiveHeaderMacInput,
  decodeArchiveHeader,
} from "../../protocol/archive/archive-header.ts";
import {
  decodeHead,
  type Head,
  headMacInput,
  type HeadVolume,
  maxHeadBytes,
} from "../../protocol/archive/head.ts";
import { decodeIndex, maxIndexBytes, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { archiveFile } from "../../protocol/archive/names.ts";
import { fileDigest, noVolume } from "../../protocol/archive/prefix.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import type { ArchiveUuid, Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { MetaName } from "../../protocol/wire/messages.ts";
import { type ArchiveKeys, macFits } from "../../protocol/seal/keys.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import type { ArchiveSeal } from "../keys/archive-seal.ts";
import {
  type ArchiveRecord,
  type HeadMark,
  type StepNote,
  writeArchiveRecord,
} from "../state/archive-record.ts";
import { afterStep } from "../state/after-step.ts";
import type { ArchivePaths } from "../state/layout.ts";
import type { Client } from "./client.ts";
import { type CopiedName, readOrCopy } from "./read-or-copy.ts";

/** Everything about one archive that a command works with. */
export interface OpenArchive {
  readonly settings: ArchiveSettings;
  readonly paths: ArchivePaths;
  readonly keys: ArchiveKeys;
  /** What its files and chunks are sealed and named with. */
  readonly seal: ArchiveSeal;
  readonly client: Client;
  /** The head that is current, verified. Replaced by commits. */
  head: Head;
  headDigest: Digest;
  /** dom0's record; replaced with it. */
  record: ArchiveRecord;
  /** The bytes of `archive`, or of `archive.N` where its key slots have been changed. */
  header: Uint8Array;
  /** What is wrong with the one that the receiver has, where these are the bytes that dom0 has kept. */
  readonly headerLost?: string;
}

export const noSession: SessionUid = new Uint8Array(16) as SessionUid;
export const noDigest: Digest = new Uint8Array(32) as Digest;
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

/** The head that the receiver announced, as far as it can be checked without a key. */
export async function readHead(
  client: Client,
  uuid: ArchiveUuid,
): Promise<{ readonly head: Head; readonly digest: Digest }> {
  const { generation, headDigest: digest } = client.hello;
  const what = `head ${generation}`;
  const head = await readOrCopy(client, headName(generation), what, maxHeadBytes, (raw) => {
    const untrusted = verified(what, () => decodeHead(raw, { archive: uuid, generation }));
    if (!equalBytes(fileDigest(raw), digest))
      throw integrity(`${what}: it is not the one that was announced`);
    return untrusted;
  });
  return { head, digest };
}

/** Throws where the head was not made with the archive's key. `known`: the generation that dom0 has accepted. */
export function checkHeadMac(head: Head, keys: ArchiveKeys, known?: Generation): void {
  if (macFits(keys.head, headMacInput(head), head.mac)) return;
  const { generation } = head;
  const isNew = known !== undefined && generation > known;
  throw integrity(
    `head ${generation}: its authentication code does not fit: altered, or made with another key`,
    isNew
      ? `this dom0 has accepted head ${known}. Whoever may send there can have made head ${generation}: move heads/${generation} out of the archive and run this again (docs/install.md, «A head that dom0 has not made»)`
      : undefined,
  );
}

interface ReadHeader {
  readonly bytes: Uint8Array;
  readonly untrusted: ArchiveHeader;
  /** What is wrong with the receiver's, where this is the one that was kept. */
  readonly lost?: string;
}

/** The header that a head names, as far as it can be checked without a key: the receiver's, or else `kept`, which has the
 *  digest that the head names. */
export async function readHeader(client: Client, head: Head, kept?: Uint8Array): Promise<ReadHeader> {
  const bytes = await client.readWhole(metaOf("archive", head.archiveGeneration), maxArchiveHeaderBytes);
  const found = bytes === undefined ? "the receiver does not have it" : decodedHeader(bytes, head);
  if (typeof found !== "string") return found;
  if (kept !== undefined)
    return { bytes: kept, untrusted: verified("kept header", () => decodeArchiveHeader(kept)), lost: found };
  throw integrity(
    `archive header: ${found}`,
    `in the destination, copy ${archiveFile(head.archiveGeneration)} from the directory of any volume into the archive's own, and run this again; the dom0 that made it has the same file as headers/${head.archiveGeneration} in its state`,
  );
}

/** What the bytes say, or why they are not the header that the head names. */
function decodedHeader(bytes: Uint8Array, head: Head): ReadHeader | string {
  try {
    const untrusted = decodeArchiveHeader(bytes);
    const isNamed =
      equalBytes(untrusted.uuid, head.archive) && equalBytes(fileDigest(bytes), head.archiveDigest);
    return isNamed ? { bytes, untrusted } : "it is not the one that the head names";
  } catch (error) {
    if (error instanceof FormatError) return error.message;
    throw error;
  }
}

/** Throws where the header was not made with the archive's key. */
export function checkHeaderMac(untrusted: ArchiveHeader, keys: ArchiveKeys): void {
  if (macFits(keys.header, archiveHeaderMacInput(untrusted), untrusted.mac)) return;
  throw integrity("archive header: its authentication code does not fit: altered, or made with another key");
}

/** Throws where an authentic header says something else than dom0 remembers, of being sealed above all. */
export function checkHeaderAgrees(header: ArchiveHeader, record: ArchiveRecord): void {
  if (
    header.sealed !== record.sealed ||
    header.chunkSize !== record.chunkSize ||
    !equalBytes(header.idSeed, record.idSeed)
  ) {
    throw integrity("archive header: it does not say what dom0 remembers");
  }
}

/** What dom0 remembers of a head. */
export function markOf(head: Head, digest: Digest): HeadMark {
  return { generation: head.generation, digest, chain: head.chain };
}

/** A volume's index as of the current head; undefined for a volume that the archive does not have. */
export async function readIndex(open: OpenArchive, volume: VolumeId): Promise<VolumeIndex | undefined> {
  const entry = open.head.volumes.find((each) => equalBytes(each.volume, volume));
  return entry && readNamedIndex(open.client, entry, open.record.uuid, open.seal.opener);
}

/** The index that a head names. Throws AgentError `integrity` where neither it nor its copy is that. */
export async function readNamedIndex(
  client: Client,
  entry: HeadVolume,
  archive: ArchiveUuid,
  opener: BodyOpener | undefined,
): Promise<VolumeIndex> {
  const what = indexText(entry);
  const decode = indexDecoder(entry, archive, opener);
  return readOrCopy(client, indexName(entry), what, maxIndexBytes, decode);
}

/** Decodes an index, if it is the one that a head names. Throws AgentError `integrity`. */
export function indexDecoder(
  entry: HeadVolume,
  archive: ArchiveUuid,
  opener: BodyOpener | undefined,
): (untrusted: Uint8Array) => VolumeIndex {
  const { volume, indexGeneration: generation, indexDigest } = entry;
  const what = indexText(entry);
  return (raw) => {
    if (!equalBytes(fileDigest(raw), indexDigest))
      throw integrity(`${what}: it is not the one that the head names`);
    return verified(what, () => decodeIndex(raw, { archive, volume, generation }, opener));
  };
}

/** An index as messages name it. */
export function indexText({ directory, indexGeneration }: HeadVolume): string {
  return `index.${indexGeneration} of ${directory}`;
}

export function headName(generation: number): CopiedName {
  return { ...metaOf("head", generation), kind: "head" };
}

export function indexName({ volume, indexGeneration }: HeadVolume): CopiedName {
  return { ...metaOf("index", indexGeneration, volume), kind: "index" };
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
    const other = done.generation === made.head.generation ? "another head of generation" : "generation";
    throw integrity(
      `commit: the receiver says that it made ${other} ${done.generation}, wanted ${made.head.generation}`,
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

/** What to do about another drive, for hints: dom0 refuses it under the name of a section that it knows. */
export const anotherPlace =
  "Another drive or directory gets a section [archive NAME] of its own in the settings (docs/install.md, «Another drive»)";

/** What the VM shows is not what dom0 knows, or contradicts itself. */
export function integrity(message: string, hint?: string): AgentError {
  return new AgentError("integrity", message, hint);
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
