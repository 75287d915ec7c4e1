// The manifest of a session while it is made: records as they come from the pipeline, in the order of their addresses,
// in a file, since a terabyte's take half a gigabyte. Holes next to each other become one record.

import { createHash } from "node:crypto";
import { closeSync, rmSync } from "node:fs";
import {
  type ContainerRef,
  encodeRecord,
  type HoleEntry,
  type ManifestEntry,
  type ManifestHead,
  manifestWriter,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import type { BodySealer } from "../../protocol/archive/sealed-body.ts";
import type { ArchiveUuid, Digest, Generation, VolumeId } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { readFully } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface ManifestSpool extends Disposable {
  /** Records that it holds. */
  readonly records: number;
  /** The containers that its entries refer to, in the order of their numbers, from 1 on. */
  readonly containers: readonly ContainerRef[];
  /** The number under which entries refer to a container; a new one for a new container. */
  numberOf(container: ContainerRef): number;
  /** Takes the pipeline's records: a whole number of them, all behind what came before. */
  add(entries: readonly ManifestEntry[]): void;
  /** A hole that was found without reading. */
  addHole(entry: HoleEntry): void;
  /** Nothing more comes. */
  finish(): void;
  /** All entries again, from the first; each is good until the next is asked for. Only after finish. */
  entries(): Generator<ManifestEntry>;
  /** The manifest's length and digest, and its bytes in parts, each good until the next; sealed where there is a
   *  `sealer`. Only after finish. */
  manifest(
    of: ManifestIdentity,
    sealer: BodySealer | undefined,
  ): {
    readonly length: number;
    readonly digest: Digest;
    parts(): Generator<Uint8Array>;
  };
}

export interface ManifestIdentity extends Omit<ManifestHead, "containers"> {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly generation: Generation;
}

const flushRecords = 4096;

/** A spool at `path`, which is removed at the end. `of` is the volume that it describes. */
export function manifestSpool(path: string, of: Pick<ManifestHead, "size" | "chunkSize">): ManifestSpool {
  const fd = createFile(path);
  const buffer = new Uint8Array(flushRecords * recordBytes);
  let buffered = 0;
  let records = 0;
  let hole: HoleEntry | undefined;
  const containers: ContainerRef[] = [];
  const numbers = new Map<string, number>();

  const flush = (): void => {
    writeAll(fd, buffer.subarray(0, buffered * recordBytes), (records - buffered) * recordBytes);
    buffered = 0;
  };
  const put = (entry: ManifestEntry): void => {
    if (buffered === flushRecords) flush();
    encodeRecord(buffer, buffered++ * recordBytes, entry);
    records++;
  };
  const add = (entry: ManifestEntry): void => {
    if (entry.kind === "hole") {
      const follows = hole !== undefined && hole.address + hole.run * of.chunkSize === entry.address;
      if (hole !== undefined && !follows) put(hole);
      hole = follows && hole !== undefined ? { ...hole, run: hole.run + entry.run } : entry;
      return;
    }
    if (hole !== undefined) put(hole);
    hole = undefined;
    put(entry);
  };
  function* parts(): Generator<Uint8Array> {
    const part = new Uint8Array(flushRecords * recordBytes);
    for (let at = 0; at < records; at += flushRecords) {
      const wanted = Math.min(flushRecords, records - at) * recordBytes;
      readFully(fd, part.subarray(0, wanted), at * recordBytes, "a manifest");
      yield part.subarray(0, wanted);
    }
  }

  return {
    get records() {
      return records;
    },
    containers,
    numberOf: ({ volume, session }) => {
      const key = toHex(volume) + toHex(session);
      const known = numbers.get(key);
      if (known !== undefined) return known;
      containers.push({ volume, session });
      numbers.set(key, containers.length);
      return containers.length;
    },
    add: (entries) => {
      for (const entry of entries) add(entry);
    },
    addHole: add,
    finish: () => {
      if (hole !== undefined) put(hole);
      hole = undefined;
      flush();
    },
    entries: function* () {
      const reader = recordReader({ ...of, containers });
      for (const part of parts()) yield* reader.read(part);
    },
    manifest: (identity, sealer) => {
      const { archive, volume, generation } = identity;
      const fields = { ...identity, containers };
      const writer = manifestWriter({ archive, volume, generation }, fields, records, sealer);
      const hash = createHash("sha256");
      for (const part of writer.parts(parts())) hash.update(part);
      const digest = new Uint8Array(hash.digest()) as Digest;
      return {
        length: writer.length,
        digest,
        parts: function* () {
          yield* writer.parts(parts());
          yield digest;
        },
      };
    },
    [Symbol.dispose]: () => {
      closeSync(fd);
      rmSync(path, { force: true });
    },
  };
}
