// The map root: one digest for the whole address → chunk id map of a session, in two levels, so that changing ten
// chunks of a terabyte costs ten groups and not the map (design section 7).
//
//   group g = SHA-256("sparsebak map group v1" ‖ g as u64 ‖ the ids of its chunks, up to 4096 × 32 bytes)
//             or 32 zero bytes where all of them are holes
//   root    = SHA-256("sparsebak map root v1" ‖ volume size u64 ‖ chunk size u32 ‖ group 0 ‖ group 1 ‖ …)

import { createHash } from "node:crypto";
import { encode, u32, u64 } from "../wire/codec.ts";
import { chunkCount } from "./manifest.ts";
import type { Digest } from "./types.ts";

/** Chunks of a group. */
export const groupChunks = 4096;
/** Bytes of an id in a map, and of a group's digest. */
export const mapIdBytes = 32;

/** Groups of a volume. */
export function groupCount(size: number, chunkSize: number): number {
  return Math.ceil(chunkCount(size, chunkSize) / groupChunks);
}

/** Digest of group `group`, whose chunks have the ids that `ids` holds, 32 bytes each; holes are zeros. */
export function groupDigest(group: number, ids: Uint8Array): Digest {
  if (isZero(ids)) return new Uint8Array(mapIdBytes) as Digest;
  const hash = createHash("sha256").update("sparsebak map group v1").update(encode(u64, group)).update(ids);
  return new Uint8Array(hash.digest()) as Digest;
}

/** The map root, from the digests of all groups, one after another. */
export function mapRootOf(size: number, chunkSize: number, groups: Uint8Array): Digest {
  const hash = createHash("sha256").update("sparsebak map root v1");
  hash.update(encode(u64, size)).update(encode(u32, chunkSize)).update(groups);
  return new Uint8Array(hash.digest()) as Digest;
}

function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Makes the map root of a map that is walked in the order of its addresses. */
export interface MapRootBuilder {
  /** The next `run` chunks have `id`, or are holes. */
  add(id: Uint8Array | undefined, run: number): void;
  /** The root; the whole volume must have been walked. */
  root(): Digest;
}

/** A builder for a volume of `size` bytes. Memory: one group, and 32 bytes a group. */
export function mapRootBuilder(size: number, chunkSize: number): MapRootBuilder {
  const chunks = chunkCount(size, chunkSize);
  const groups = new Uint8Array(groupCount(size, chunkSize) * mapIdBytes);
  const ids = new Uint8Array(groupChunks * mapIdBytes);
  let next = 0;
  let dirty = false;

  const closeGroup = (): void => {
    const group = Math.floor((next - 1) / groupChunks);
    const length = (next - group * groupChunks) * mapIdBytes;
    if (dirty) groups.set(groupDigest(group, ids.subarray(0, length)), group * mapIdBytes);
    if (dirty) ids.fill(0);
    dirty = false;
  };

  return {
    add: (id, run) => {
      if (next + run > chunks)
        throw new RangeError(`map root: ${next + run} chunks in a volume of ${chunks}`);
      if (id !== undefined && id.length !== mapIdBytes)
        throw new RangeError(`map root: an id of ${id.length} bytes`);
      let left = run;
      while (left > 0) {
        const inGroup = next % groupChunks;
        const count = Math.min(left, groupChunks - inGroup);
        if (id !== undefined) {
          for (let i = 0; i < count; i++) ids.set(id, (inGroup + i) * mapIdBytes);
          dirty = true;
        }
        next += count;
        left -= count;
        if (next % groupChunks === 0 || next === chunks) closeGroup();
      }
    },
    root: () => {
      if (next !== chunks) throw new RangeError(`map root: ${next} of ${chunks} chunks`);
      return mapRootOf(size, chunkSize, groups);
    },
  };
}
