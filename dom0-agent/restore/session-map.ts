// The map of a session: which chunk, lying in which container, has the content of each address. It is the sum of the
// verified manifests of all sessions up to that one, newest first, and must have the session's map root
// (archive-format.md, F19, F22). It is built whole, and checked, before the first chunk is asked for; it lies in a file,
// so memory follows neither the size of the volume nor the number of sessions.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { type ContainerRef, chunkCount, chunkLength } from "../../protocol/archive/manifest.ts";
import { mapRootBuilder } from "../../protocol/archive/map-root.ts";
import { mergeManifests } from "../../protocol/archive/merge.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { allSessions, type FoundSession } from "./find-session.ts";
import { type NumberedManifest, numberedManifest } from "./manifest-file.ts";
import { type MapStep, type RecordSpool, recordSource, spoolSteps } from "./record-source.ts";

/** Manifests that are open at once, in one merge. */
const maxOpen = 64;

export interface SessionMap extends Disposable {
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
  /** Container `k` is `containers[k - 1]`. */
  readonly containers: readonly ContainerRef[];
  /** Bytes of the volume that are no hole, and of the stored forms that make them. */
  readonly dataBytes: number;
  readonly storedBytes: number;
  /** The map from its first chunk to its last, without gap or overlap. An entry is good until the next step. */
  steps(): Generator<MapStep>;
}

/** Containers by small numbers, from 1 on: one numbering for all manifests. */
export interface ContainerNumbers {
  readonly refs: readonly ContainerRef[];
  readonly numberOf: (ref: ContainerRef) => number;
}

export function containerNumbers(): ContainerNumbers {
  const refs: ContainerRef[] = [];
  const numbers = new Map<string, number>();
  return {
    refs,
    numberOf: (ref) => {
      const key = toHex(ref.volume) + toHex(ref.session);
      const known = numbers.get(key);
      if (known !== undefined) return known;
      refs.push({ volume: ref.volume, session: ref.session });
      numbers.set(key, refs.length);
      return refs.length;
    },
  };
}

/** Fetches what the map is made of, and makes it. Throws AgentError `integrity` when a manifest is missing or damaged,
 *  or they do not make the map root. */
export async function sessionMap(
  open: OpenArchive,
  index: VolumeIndex,
  session: FoundSession,
): Promise<SessionMap> {
  const { size, mapRoot, sequence } = session.record;
  const { chunkSize } = open.record;
  const directory = open.paths.directory;
  const containers = containerNumbers();
  // A batch must not cut a run in the middle of the last chunk: whether that one is short, the newest session says.
  const whole = chunkCount(size, chunkSize) * chunkSize;
  const newestFirst = allSessions(index)
    .filter((each) => each.record.sequence <= sequence)
    .reverse();
  const batches: RecordSpool[] = [];
  const sourceOf = (batch: RecordSpool): ReturnType<typeof recordSource> =>
    recordSource({
      size: whole,
      chunkSize,
      containers: containers.refs,
      records: batch.records,
      readRecords: (into, first) => batch.readRecords(into, first),
    });
  try {
    for (let i = 0; i < newestFirst.length; i += maxOpen) {
      const manifests: NumberedManifest[] = [];
      try {
        for (const { container } of newestFirst.slice(i, i + maxOpen)) {
          manifests.push(await numberedManifest(open, index, container, containers.numberOf));
        }
        const sources = manifests.map((each) => each.source());
        batches.push(spoolSteps(mergeManifests(sources, whole, chunkSize), directory, { holes: true }));
      } finally {
        for (const each of manifests) each[Symbol.dispose]();
      }
    }
    const root = mapRootBuilder(size, chunkSize);
    const totals = { dataBytes: 0, storedBytes: 0 };
    const counted = function* (): Generator<MapStep> {
      for (const step of mergeManifests(batches.map(sourceOf), whole, chunkSize)) {
        const { entry, address, run } = step;
        root.add(entry?.kind === "chunk" ? entry.id : undefined, run);
        if (entry?.kind === "chunk") {
          totals.dataBytes += (run - 1) * chunkSize;
          totals.dataBytes += chunkLength(address + (run - 1) * chunkSize, size, chunkSize);
          totals.storedBytes += entry.storedLength;
        }
        yield step;
      }
    };
    const merged = spoolSteps(counted(), directory, { holes: false });
    if (!equalBytes(root.root(), mapRoot)) {
      merged[Symbol.dispose]();
      throw new AgentError(
        "integrity",
        `${index.name}: ${session.container.name}: the archive's manifests do not make the session's map root`,
      );
    }
    return {
      size,
      chunkSize,
      containers: containers.refs,
      ...totals,
      steps: () => stepsOf(sourceOf(merged), chunkCount(size, chunkSize), chunkSize),
      [Symbol.dispose]: () => merged[Symbol.dispose](),
    };
  } finally {
    for (const each of batches) each[Symbol.dispose]();
  }
}

/** Entries with the holes between them. */
function* stepsOf(
  source: ReturnType<typeof recordSource>,
  chunks: number,
  chunkSize: number,
): Generator<MapStep> {
  let at = 0;
  for (let entry = source.next(); entry !== undefined; entry = source.next()) {
    const first = entry.address / chunkSize;
    if (first > at) yield { entry: undefined, address: (at * chunkSize) as ChunkAddress, run: first - at };
    yield { entry, address: entry.address, run: entry.run };
    at = first + entry.run;
  }
  if (at < chunks) yield { entry: undefined, address: (at * chunkSize) as ChunkAddress, run: chunks - at };
}
