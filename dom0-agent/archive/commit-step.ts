// The last step of everything that changes an archive: send, prune, delete, rename, tag, key slots. Files that the new
// state names, then its head, then the commit, in an order in which a crash anywhere leaves the old state or the new
// one (design sections 5 and 7).

import { type DeadFile, encodeDead } from "../../protocol/archive/dead-file.ts";
import { encodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type StepNote, writeIntent } from "../state/archive-record.ts";
import { removeFile } from "../state/atomic-file.ts";
import { keepHeader } from "../state/kept-headers.ts";
import { noteCurrent } from "../state/last-session.ts";
import { commitHead, markOf, metaOf, type OpenArchive } from "./archive.ts";
import { buildHead } from "./build-head.ts";

export interface Step {
  readonly note: StepNote;
  /** Indexes of the volumes that change, of the next generation, and their directories. */
  readonly indexes: readonly { readonly directory: string; readonly index: VolumeIndex }[];
  /** Volumes that the new state has no more. */
  readonly removed?: readonly VolumeId[];
  /** Manifests and lists that the indexes name and the receiver does not have yet. */
  readonly files?: readonly StepFile[];
  /** The bytes of `archive.N`, of the next generation. */
  readonly header?: Uint8Array;
  /** What the step no longer needs. */
  readonly dead?: Omit<DeadFile, "archive" | "generation" | "createdAt">;
  /** What has to be held while the commit and dom0's own records are made. */
  readonly hold?: (() => Promise<Disposable>) | undefined;
}

/** A manifest or list of the next generation, for a session that is in the archive. */
export interface StepFile {
  readonly kind: "manifest" | "list";
  readonly volume: VolumeId;
  readonly session: SessionUid;
  /** Bytes of the whole file, and the digest that it ends with. */
  readonly length: number;
  readonly digest: Digest;
  readonly parts: () => Iterable<Uint8Array>;
}

/** The generation of everything that the next step writes. */
export function nextGeneration(open: OpenArchive): Generation {
  return (open.head.generation + 1) as Generation;
}

/**
 * Commits a step. `dead/N+1` goes first, so that no file is without a name: what a step that is never committed has
 * put is removed by the receiver, and what a committed one no longer needs is on the list.
 */
export async function commitStep(open: OpenArchive, step: Step): Promise<void> {
  const { client, head } = open;
  const generation = nextGeneration(open);
  const createdAt = Date.now();
  const put = async (kind: "dead" | "archive" | "head", bytes: Uint8Array): Promise<void> =>
    client.put(metaOf(kind, generation), bytes.length, fileDigest(bytes), [bytes]);

  if (step.dead !== undefined)
    await put("dead", encodeDead({ ...step.dead, archive: open.record.uuid, generation, createdAt }));
  for (const { kind, volume, session, length, digest, parts } of step.files ?? [])
    await client.put(metaOf(kind, generation, volume, session), length, digest, parts());
  if (step.header !== undefined) {
    keepHeader(open.paths, generation, step.header);
    await put("archive", step.header);
  }
  const changed = [];
  for (const { directory, index } of step.indexes) {
    const bytes = encodeIndex(index, open.seal.sealer);
    const indexDigest = fileDigest(bytes);
    await client.put(metaOf("index", generation, index.volume), bytes.length, indexDigest, [bytes]);
    changed.push({ volume: index.volume, directory, indexGeneration: generation, indexDigest });
  }
  const gone = [...changed.map((each) => each.volume), ...(step.removed ?? [])];
  const others = head.volumes.filter((each) => !gone.some((volume) => equalBytes(volume, each.volume)));
  const made = buildHead(open.keys, open.record.uuid, head, {
    createdAt,
    archiveGeneration: step.header === undefined ? head.archiveGeneration : generation,
    archiveDigest: step.header === undefined ? head.archiveDigest : fileDigest(step.header),
    volumes: [...others, ...changed].sort((a, b) => Buffer.compare(a.volume, b.volume)),
  });
  const base = { generation: head.generation, digest: open.headDigest };
  await put("head", made.bytes);
  using _held = await step.hold?.();
  writeIntent(open.paths, { head: markOf(made.head, made.digest), step: step.note });
  await commitHead(open, base, made, step.note);
  if (step.header !== undefined) open.header = step.header;
  for (const { index } of step.indexes) noteCurrent(open.paths.volume(index.volume), index);
  for (const volume of step.removed ?? []) noteCurrent(open.paths.volume(volume), undefined);
  removeFile(open.paths.intent);
}
