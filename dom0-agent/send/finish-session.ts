// The end of a session: manifest and header, the receiver's own count of what arrived, and the step that makes it
// count.

import type { Container, SessionRecord, VolumeIndex } from "../../protocol/archive/index-file.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import { encodeSessionHeader } from "../../protocol/archive/session-header.ts";
import type { Generation, SessionName, SessionUid } from "../../protocol/archive/types.ts";
import type { ListBuilder } from "../../protocol/archive/list-file.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { metaOf, type OpenArchive } from "../archive/archive.ts";
import { commitStep, nextGeneration } from "../archive/commit-step.ts";
import type { ManifestSpool } from "../archive/manifest-spool.ts";

export interface FinishOptions {
  readonly open: OpenArchive;
  readonly known: KnownVolume;
  readonly index: VolumeIndex | undefined;
  readonly uid: SessionUid;
  readonly name: SessionName;
  readonly form: "dir" | "tar";
  readonly spool: ManifestSpool;
  readonly list: ListBuilder;
  /** Containers that interrupted sends have left and this session refers to. */
  readonly salvaged: readonly Container[];
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
  const generation = nextGeneration(open);
  const of = { archive, volume: known.id, generation };

  const { sealer } = open.seal;
  const identity = { ...of, session: uid, size: fields.size, chunkSize };
  const manifest = on.spool.manifest(identity, sealer);
  await client.put(
    metaOf("manifest", generation, known.id, uid),
    manifest.length,
    manifest.digest,
    manifest.parts(),
  );
  const header = encodeSessionHeader(
    {
      ...of,
      ...fields,
      uid,
      name: on.name,
      volumeName: known.name,
      chunkSize,
    },
    sealer,
  );
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
    containers: [...(on.index?.containers ?? []), ...on.salvaged, container],
    name: known.name,
    group: known.group,
    sessions: [...(on.index?.sessions ?? []), record],
  };
  await commitStep(open, {
    note: { what: "send", volume: known.id, session: uid },
    indexes: [{ directory: known.directory, index }],
  });
  return { index, record, chunks: list.chunks, storedBytes: list.bytes };
}
