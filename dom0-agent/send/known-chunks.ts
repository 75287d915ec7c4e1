// What a send need not store: chunks that the volume's group has already, and those that this session has stored
// itself. The first are in the group's index, the second in a table of their own, which goes into the index when the
// session is committed, and with the session when it is not.

import { rmSync } from "node:fs";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { Lookup } from "../pipeline/job.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { dropChunkIndex } from "../state/chunk-index.ts";
import { type ChunkPlace, type ChunkTable, createTable } from "../state/chunk-table.ts";
import type { ChunkIndex } from "../state/chunk-index.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { addCommitted } from "../archive/group-index.ts";

/** A chunk that an interrupted session of this volume has left, in the `container`-th of what was salvaged. */
export interface SalvagedChunk {
  readonly id: Uint8Array;
  readonly place: ChunkPlace;
}

export interface KnownChunks extends Disposable {
  /** For the workers. */
  readonly lookups: readonly Lookup[];
  /** Container `k` of what the workers find is `containers[k - 1]`. */
  readonly containers: readonly ContainerRef[];
  /** What this session stores: container 0. Others of its containers, from 1 on, are those from `freshFrom` on above. */
  readonly fresh: ChunkTable;
  readonly freshFrom: number;
  /** The session is committed, with those of the salvaged containers that its volume's index names. What fails here is
   *  only said: the index is made again. */
  remember(own: ContainerRef, index: VolumeIndex): Promise<void>;
  /** A page of the index is damaged: it is made again next time. */
  forget(): void;
}

export interface KnownOptions {
  readonly open: OpenArchive;
  readonly known: KnownVolume;
  /** Of the volume's group, as of the current head. */
  readonly index: ChunkIndex;
  /** Most chunks that the session can store. */
  readonly most: number;
  /** What interrupted sessions have left: container k of a chunk is `refs[k - 1]`. */
  readonly salvaged: {
    readonly refs: readonly ContainerRef[];
    readonly count: number;
    chunks(): Iterable<SalvagedChunk>;
  };
  readonly warn: (message: string) => void;
}

export function knownChunks(on: KnownOptions): KnownChunks {
  const { open, known, index, salvaged } = on;
  const path = open.paths.volume(known.id).fresh;
  const group = open.paths.group(known.group);
  const fresh = createTable(path, on.most + salvaged.count);
  for (const { id, place } of salvaged.chunks()) fresh.add(id, place);
  fresh.flush();
  const freshFrom = index.containers.length;
  let forgotten = false;

  return {
    lookups: [
      { table: index.file, numbersFrom: 0, growing: false },
      { table: fresh.file, numbersFrom: freshFrom, growing: true },
    ],
    containers: [...index.containers, ...salvaged.refs],
    fresh,
    freshFrom,
    remember: async (own, committed) => {
      if (forgotten) return;
      const { file, entries } = fresh;
      const containers = [own, ...salvaged.refs];
      try {
        await addCommitted(open, index, { index: committed, containers, fresh: file, entries });
      } catch (error) {
        on.warn(`${(error as Error).message}; the index of its chunks is made again from the archive`);
        dropChunkIndex(group);
      }
    },
    forget: () => {
      on.warn(
        `${group.table}: a page of it is damaged: chunks that it knew may have been stored once more; the next send makes it again from the archive`,
      );
      forgotten = true;
      dropChunkIndex(group);
    },
    [Symbol.dispose]: () => {
      fresh[Symbol.dispose]();
      rmSync(path, { force: true });
    },
  };
}
