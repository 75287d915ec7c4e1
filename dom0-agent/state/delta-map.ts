// The delta map: which chunks changed since an archive's last session, and the snapshot that it is complete up to.
// One file per archive and volume, replaced whole (design section 5). When in doubt it is not used: what can't be
// vouched for is compared whole.

import { createHash } from "node:crypto";
import {
  type ArchiveUuid,
  archiveUuid,
  type Digest,
  digest,
  type SessionUid,
  sessionUid,
  type VolumeId,
  volumeId,
  volumeSize,
  chunkSizeField,
} from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type Codec, decode, encode, only, rest, struct, text, u32 } from "../../protocol/wire/codec.ts";
import { type Bitmap, bitmap } from "../delta/bitmap.ts";
import { readIfThere, replaceFile } from "./atomic-file.ts";
import { DamagedStateError } from "./record.ts";

export interface DeltaMap {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  /** The session that the changes are counted from: while a send is under way, the one that it makes. */
  readonly base: SessionUid;
  /** Its map root; zeros while the send is under way. */
  readonly baseMapRoot: Digest;
  readonly chunkSize: number;
  /** Bytes of the volume at the snapshot. */
  readonly size: number;
  readonly poolUuid: string;
  /** The snapshot that the bits are complete up to. */
  readonly snapshotUuid: string;
  readonly thinId: number;
  readonly bits: Bitmap;
}

interface Stored extends Omit<DeltaMap, "bits"> {
  readonly version: number;
  readonly bits: Uint8Array;
}

/** Bytes of the bits of the largest volume in the smallest chunks. */
const maxBitBytes = 2 ** 31;
const stored: Codec<Stored> = struct<Stored>({
  version: only(u32, (n) => n === 1, "version 1"),
  archive: archiveUuid,
  volume: volumeId,
  base: sessionUid,
  baseMapRoot: digest,
  chunkSize: chunkSizeField,
  size: volumeSize,
  poolUuid: text(128),
  snapshotUuid: text(128),
  thinId: u32,
  bits: rest(maxBitBytes),
});

/** Replaces the map at `path`. */
export function writeDeltaMap(path: string, map: DeltaMap): void {
  const body = encode(stored, { ...map, version: 1, bits: map.bits.bytes });
  replaceFile(path, [body, createHash("sha256").update(body).digest()]);
}

/** The map at `path`, or undefined where there is none. Throws DamagedStateError. */
export function readDeltaMap(path: string): DeltaMap | undefined {
  const raw = readIfThere(path);
  if (raw === undefined) return undefined;
  const body = raw.subarray(0, Math.max(0, raw.length - 32));
  if (!equalBytes(createHash("sha256").update(body).digest(), raw.subarray(body.length))) {
    throw new DamagedStateError(path, "its digest does not fit its content");
  }
  try {
    const { version: _, bits, ...map } = decode(stored, body, "delta map");
    return { ...map, bits: bitmap(Math.ceil(map.size / map.chunkSize), bits.slice()) };
  } catch (error) {
    if (error instanceof FormatError || error instanceof RangeError)
      throw new DamagedStateError(path, error.message);
    throw error;
  }
}
