// One volume's manifests, from its first session to its last: what the sessions that stay refer to, and merged
// manifests for those that follow sessions that go, or refer to lost chunks of which there are other copies. A merged
// manifest must lead to its session's map root, or nothing is changed (design section 7).

import { closeSync, openSync, rmSync, statSync } from "node:fs";
import type { SessionRecord } from "../../protocol/archive/index-file.ts";
import { type ChunkEntry, type HoleEntry, recordBytes } from "../../protocol/archive/manifest.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import type { StepFile } from "../archive/commit-step.ts";
import { fetchManifest } from "../archive/fetch-manifest.ts";
import type { Copies, Copy } from "./copies.ts";
import { manifestSpool } from "../archive/manifest-spool.ts";
import type { ChunkRefs } from "./chunk-refs.ts";
import { type GroupContainers, sessionContainer } from "./group-containers.ts";
import { volumeMap } from "./volume-map.ts";
import { readFully } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface Walk {
  readonly open: OpenArchive;
  /** Of the step that removes the sessions. */
  readonly generation: Generation;
  readonly containers: GroupContainers;
  /** Hears every chunk that a session that stays refers to. */
  readonly refs: ChunkRefs;
  /** Copies that are referred to from now on in place of lost chunks. */
  readonly copies?: Copies | undefined;
  /** Directory for spools. */
  readonly scratch: string;
  readonly signal: AbortSignal;
}

/** Walks a volume's sessions; `goes` says which don't stay. Gives the merged manifests, spooled in the scratch directory.
 *  Throws AgentError `integrity` where a manifest is damaged or does not lead to the map root. */
export async function walkVolume(
  on: Walk,
  volume: ViewedVolume,
  goes: (session: SessionRecord) => boolean,
): Promise<readonly StepFile[]> {
  const { index } = volume;
  const { sessions } = index;
  const { chunkSize } = on.open.record;
  // Behind the last merged manifest nobody asks for the map any more.
  const lastMerged = sessions.findLastIndex((each, i) => {
    const before = sessions[i - 1];
    return !goes(each) && before !== undefined && goes(before);
  });
  // Which sessions refer to lost chunks is seen when their manifests are read.
  const lastMapped = on.copies === undefined ? lastMerged : sessions.length - 1;
  const maxSize = Math.max(0, ...sessions.slice(0, lastMapped + 1).map((each) => each.size));
  using map = volumeMap(`${on.scratch}/map`, chunkSize, maxSize);
  const files: StepFile[] = [];
  let behindRemoved = false;
  let first = true;
  for (const [i, session] of sessions.entries()) {
    on.signal.throwIfAborted();
    const stays = !goes(session);
    // A session that goes, with no other behind it that stays, hides nothing and keeps nothing.
    if (!stays && i > lastMerged) continue;
    const container = sessionContainer(volume, session.uid);
    using manifest = await fetchManifest(on.open, index, container, `${on.scratch}/manifest`);
    const own = { volume: index.volume, session: session.uid };
    const numbers = [own, ...manifest.containers].map((ref) => on.containers.numberOf(ref, manifest.what));
    const copiesOf = [own, ...manifest.containers].map((ref) => on.copies?.in(ref));
    const mapped = i <= lastMapped;
    let healed = false;
    if (mapped) map.resize(session.size);
    for (const named of manifest.entries()) {
      if (named.kind === "hole") {
        if (mapped) map.apply(named, 0);
        continue;
      }
      const copy = copyOf(named, copiesOf[named.container]);
      healed ||= copy !== undefined;
      const entry = copy === undefined ? named : { ...named, ...copy.place };
      const number =
        copy === undefined
          ? (numbers[named.container] ?? 0)
          : on.containers.numberOf(copy.container, manifest.what);
      if (mapped) map.apply(entry, number);
      if (stays && !behindRemoved) on.refs.add(number, entry.storedAddress / chunkSize);
    }
    if (stays && (behindRemoved || healed)) {
      if (!equalBytes(map.root(), session.mapRoot))
        throw new AgentError(
          "integrity",
          `${index.name}: the manifests up to ${container.name} do not make its map root`,
          "nothing was removed; sparsebak check says what is damaged",
        );
      files.push(mergedManifest(on, volume, session, map.changes(), first, files.length));
    }
    if (stays) {
      map.settle();
      first = false;
    }
    behindRemoved = !stays;
  }
  return files;
}

/** The copy that an entry refers to from now on. */
function copyOf(
  { id, storedAddress }: ChunkEntry,
  copies: ReadonlyMap<ChunkEntry["storedAddress"], Copy> | undefined,
): Copy | undefined {
  const copy = copies?.get(storedAddress);
  return copy !== undefined && equalBytes(copy.id, id) ? copy : undefined;
}

/** Writes a session's merged manifest to the scratch directory. The first session of a volume names no holes: nothing
 *  came before it. */
function mergedManifest(
  on: Walk,
  { index }: ViewedVolume,
  session: SessionRecord,
  changes: Iterable<ChunkEntry | HoleEntry>,
  first: boolean,
  number: number,
): StepFile {
  const { chunkSize } = on.open.record;
  const path = `${on.scratch}/${Buffer.from(index.volume).toString("hex")}-${number}`;
  using spool = manifestSpool(`${path}.records`, { size: session.size, chunkSize });
  const own = on.containers.numberOf({ volume: index.volume, session: session.uid }, "merged manifest");
  /** By number in the group: number in the manifest. */
  const numbers = new Map([[own, 0]]);
  for (const entry of changes) {
    if (entry.kind === "hole") {
      if (!first) spool.addHole(entry);
      continue;
    }
    const container = numbers.get(entry.container) ?? spool.numberOf(on.containers.refOf(entry.container));
    numbers.set(entry.container, container);
    spool.add([{ ...entry, container }]);
    on.refs.add(entry.container, entry.storedAddress / chunkSize);
  }
  spool.finish();
  const of = { archive: index.archive, volume: index.volume, generation: on.generation };
  const identity = { ...of, session: session.uid, size: session.size, chunkSize };
  const manifest = spool.manifest(identity, on.open.seal.sealer);
  const fd = createFile(path);
  try {
    for (const part of manifest.parts()) writeAll(fd, part);
  } finally {
    closeSync(fd);
  }
  return {
    kind: "manifest",
    volume: index.volume,
    session: session.uid,
    length: manifest.length,
    digest: manifest.digest,
    parts: () => spooledParts(path),
  };
}

/** The bytes of a spooled file, which is removed behind the last. Each part is good until the next. */
export function* spooledParts(path: string): Generator<Uint8Array, void, undefined> {
  const part = new Uint8Array(recordBytes * 4096);
  const fd = openSync(path, "r");
  try {
    const { size } = statSync(path);
    for (let at = 0; at < size;) {
      const piece = part.subarray(0, size - at);
      readFully(fd, piece, at, path);
      at += piece.length;
      yield piece;
    }
  } finally {
    closeSync(fd);
  }
  rmSync(path, { force: true });
}
