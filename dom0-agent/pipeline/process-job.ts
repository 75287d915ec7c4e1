// The data path of a chunk: read, zero test, id, compare, look up, compress, seal, frame. Everything happens in buffers
// that are used again: one to read into, the job's own to write to.

import { createHash } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { chunkLength, encodeRecord, recordBytes } from "../../protocol/archive/manifest.ts";
import { mapIdBytes } from "../../protocol/archive/map-root.ts";
import {
  type ChunkAddress,
  type ChunkId,
  type Digest,
  maxStoredLength,
} from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { chunkSealer, type ChunkSealer } from "../../protocol/seal/chunk-seal.ts";
import { writeFrameHeader } from "../../protocol/wire/frame.ts";
import type { ChunkKeys } from "../keys/archive-seal.ts";
import { chunkFrameHead, chunksPerJob, type Job, type JobResult, recordsAt, type VolumeTask } from "./job.ts";
import { hasId } from "./id-set.ts";
import { lookUp } from "./look-up.ts";
import { readFully } from "../read-fully.ts";

/** Buffers that one worker uses for all jobs of a volume. */
export interface Workspace {
  readonly chunkSize: number;
  readonly plain: Uint8Array;
  readonly ids: Uint8Array;
  readonly zeros: Buffer;
  /** Seals for a group; the salt that it has drawn is this worker's own. */
  sealer: { readonly groupKey: Uint8Array; readonly chunks: ChunkSealer } | undefined;
}

export function workspace(chunkSize: number): Workspace {
  return {
    chunkSize,
    plain: new Uint8Array(chunksPerJob(chunkSize) * chunkSize),
    ids: new Uint8Array(chunksPerJob(chunkSize) * mapIdBytes),
    zeros: Buffer.alloc(chunkSize),
    sealer: undefined,
  };
}

/** Does a job; the buffer is the caller's again when it returns. Throws what reading throws. */
export function processJob(job: Job, space: Workspace): JobResult {
  const { task, runs } = job;
  const out = new Uint8Array(job.buffer);
  const state = { frames: 0, records: 0, zeroChunks: 0, chunks: 0, tableDamaged: false };
  for (let i = 0; i < runs.length; i += 2)
    processRun(task, runs[i] ?? 0, runs[i + 1] ?? 0, space, out, state);
  return { buffer: job.buffer, ...state };
}

interface Written {
  frames: number;
  records: number;
  chunks: number;
  zeroChunks: number;
  tableDamaged: boolean;
}

function processRun(
  task: VolumeTask,
  start: number,
  count: number,
  space: Workspace,
  out: Uint8Array,
  to: Written,
): void {
  const { chunkSize, size } = task;
  const offset = start * chunkSize;
  const length = Math.min(count * chunkSize, size - offset);
  readFully(task.volumeFd, space.plain.subarray(0, length), offset, "the volume");
  const known = Math.max(0, Math.min(count, task.knownChunks - start));
  const ids = space.ids.subarray(0, count * mapIdBytes);
  ids.fill(0);
  readFully(task.idsFd, ids.subarray(0, known * mapIdBytes), start * mapIdBytes, "its id map");

  for (let i = 0; i < count; i++) {
    const address = (start + i) * chunkSize;
    const at = i * chunkSize;
    const plain = space.plain.subarray(at, at + chunkLength(address, size, chunkSize));
    const oldId = Buffer.from(ids.buffer, ids.byteOffset + i * mapIdBytes, mapIdBytes);
    const isNew = i >= known;
    to.chunks++;
    if (
      Buffer.from(plain.buffer, plain.byteOffset, plain.length).equals(space.zeros.subarray(0, plain.length))
    ) {
      to.zeroChunks++;
      if (isNew || oldId.some((byte) => byte !== 0)) {
        encodeRecord(out, recordsAt(chunkSize) + to.records++ * recordBytes, {
          kind: "hole",
          address: address as ChunkAddress,
          run: 1,
        });
      }
      continue;
    }
    const id = chunkIdOf(task.idKey, plain);
    const isLost = task.putBack !== undefined && hasId(task.putBack, id, 0);
    if (!isNew && oldId.equals(id) && !isLost) continue;
    const there = lookUp(task.lookups, id, to);
    if (there !== undefined) {
      encodeRecord(out, recordsAt(chunkSize) + to.records++ * recordBytes, {
        kind: "chunk",
        address: address as ChunkAddress,
        run: 1,
        id,
        ...there,
      });
      continue;
    }
    const head = to.frames;
    const storedAt = head + chunkFrameHead;
    const storedLength = store(id, compress(plain, task.level), task, space, out, storedAt);
    const stored = out.subarray(storedAt, storedAt + storedLength);
    const checksum = createHash("sha256").update(stored).digest() as Uint8Array as Digest;
    writeFrameHeader(out, head, "chunk", task.requestId, 40 + storedLength);
    const view = new DataView(out.buffer, out.byteOffset + head + 12, 8);
    view.setUint32(0, Math.floor(address / 2 ** 32));
    view.setUint32(4, address % 2 ** 32);
    out.set(checksum, head + 20);
    to.frames = storedAt + storedLength;
    encodeRecord(out, recordsAt(chunkSize) + to.records++ * recordBytes, {
      kind: "chunk",
      address: address as ChunkAddress,
      run: 1,
      id,
      container: 0,
      storedAddress: address as ChunkAddress,
      storedLength,
      checksum,
    });
  }
}

/** Puts the stored form of a chunk, sealed where the archive is, into `out` at `at`; gives its length. */
function store(
  id: ChunkId,
  frame: Uint8Array,
  { sealed }: ChunkKeys,
  space: Workspace,
  out: Uint8Array,
  at: number,
): number {
  if (sealed === undefined) {
    out.set(frame, at);
    return frame.length;
  }
  const { archive, groupKey } = sealed;
  if (space.sealer === undefined || !equalBytes(space.sealer.groupKey, groupKey))
    space.sealer = { groupKey, chunks: chunkSealer(groupKey, archive) };
  return space.sealer.chunks.seal(id, frame, out, at);
}

/** A zstd frame with its checksum and the size of its content. */
function compress(plain: Uint8Array, level: number): Uint8Array {
  return zstdCompressSync(plain, {
    // One output buffer that fits: growing it would copy.
    chunkSize: maxStoredLength(plain.length),
    pledgedSrcSize: plain.length,
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_checksumFlag]: 1,
      [constants.ZSTD_c_contentSizeFlag]: 1,
    },
  });
}
