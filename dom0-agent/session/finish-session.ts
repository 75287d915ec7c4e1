// The end of a session: manifest and header, the receiver's own count of what arrived, the volume's new index, and
// the head that makes it count. The intent is written down before the commit is asked for (design section 5).

import { encodeIndex, type SessionRecord, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { HeadVolume } from "../../protocol/archive/head.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import { encodeSessionHeader } from "../../protocol/archive/session-header.ts";
import type { Digest, Generation, SessionName, SessionUid } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { ListBuilder } from "../../protocol/archive/list-file.ts";
import { type KnownVolume, writeIntent } from "../state/archive-record.ts";
import { removeFile } from "../state/atomic-file.ts";
import { commitHead, markOf, metaOf, type OpenArchive } from "./archive.ts";
import { buildHead } from "./build-head.ts";
import type { ManifestSpool } from "./manifest-spool.ts";

export interface FinishOptions {
  readonly open: OpenArchive;
  readonly known: KnownVolume;
  readonly index: VolumeIndex | undefined;
  readonly uid: SessionUid;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  readonly spool: ManifestSpool;
  readonly list: ListBuilder;
  readonly fields: Pick<SessionRecord, "sequence" | "takenAt" | "size" | "mapRoot" | "consistency" | "tags">;
}

export interface FinishedSession {
  readonly index: VolumeIndex;
  readonly record: SessionRecord;
  readonly chunks: number;
  readonly storedBytes: number;
}

/** Uploads what describes the session, has it synced, and commits it. */
export async function finishSession(on: FinishOptions): Promise<FinishedSession> {
  const { open, known, uid, fields } = on;
  const { client } = open;
  const { uuid: archive, chunkSize } = open.record;
  const generation = (open.head.generation + 1) as Generation;
  const of = { archive, volume: known.id, generation };

  const manifest = on.spool.manifest({ ...of, session: uid, size: fields.size, chunkSize, containers: [] });
  await client.put(
    metaOf("manifest", generation, known.id, uid),
    manifest.length,
    manifest.digest,
    manifest.parts(),
  );
  const header = encodeSessionHeader({
    ...of,
    ...fields,
    uid,
    name: on.name,
    volumeName: known.name,
    chunkSize,
  });
  await client.put(metaOf("header", generation, known.id, uid), header.length, fileDigest(header), [header]);
  const list = on.list.finish();
  await client.endSession({
    session: uid,
    chunks: list.chunks,
    storedBytes: list.bytes,
    listDigest: list.digest,
  });

  const record: SessionRecord = { ...fields, uid, protected: false };
  const container = {
    uid,
    name: on.name,
    form: on.form,
    headerDigest: fileDigest(header),
    listGeneration: 0 as Generation,
    listDigest: list.digest,
    manifestGeneration: generation,
    manifestDigest: manifest.digest,
    chunks: list.chunks,
    storedBytes: list.bytes,
  };
  const index: VolumeIndex = {
    ...of,
    containers: [...(on.index?.containers ?? []), container],
    name: known.name,
    group: known.group,
    sessions: [...(on.index?.sessions ?? []), record],
  };
  const indexBytes = encodeIndex(index);
  await client.put(metaOf("index", generation, known.id), indexBytes.length, fileDigest(indexBytes), [
    indexBytes,
  ]);
  await commitIndex(open, known, uid, fileDigest(indexBytes), generation);
  return { index, record, chunks: list.chunks, storedBytes: list.bytes };
}

/** Makes the head in which `known` has the index of that digest. */
async function commitIndex(
  open: OpenArchive,
  known: KnownVolume,
  session: SessionUid,
  indexDigest: Digest,
  generation: Generation,
): Promise<void> {
  const entry: HeadVolume = {
    volume: known.id,
    directory: known.directory,
    indexGeneration: generation,
    indexDigest,
  };
  const others = open.head.volumes.filter((each) => !equalBytes(each.volume, known.id));
  const made = buildHead(open.keys, open.record.uuid, open.head, {
    createdAt: Date.now(),
    archiveGeneration: open.head.archiveGeneration,
    archiveDigest: open.head.archiveDigest,
    volumes: [...others, entry].sort((a, b) => Buffer.compare(a.volume, b.volume)),
  });
  const base = { generation: open.head.generation, digest: open.headDigest };
  await open.client.put(metaOf("head", generation), made.bytes.length, made.digest, [made.bytes]);
  writeIntent(open.paths, { head: markOf(made.head, made.digest), volume: known.id, session });
  await commitHead(open, base, made);
  removeFile(open.paths.intent);
}
