// Chunk ids where the archive is not sealed: HMAC-SHA-256 of the plaintext under a key that follows from the public
// seed in `archive`, so that spbk-assemble can check every chunk and needs nothing. (Sealed archives derive the id
// key from the master key, in protocol/seal.)

import { createHmac, hkdfSync } from "node:crypto";
import { concatBytes } from "../bytes.ts";
import { utf8 } from "../wire/writer.ts";
import type { ArchiveUuid, ChunkId, GroupId } from "./types.ts";

/** The 32-byte id key of a group: HKDF-SHA-256(seed, salt = archive uuid, info = "sparsebak chunk id v1" ‖ group). */
export function publicIdKey(idSeed: Uint8Array, archive: ArchiveUuid, group: GroupId): Uint8Array {
  const info = concatBytes([utf8("sparsebak chunk id v1"), group]);
  return new Uint8Array(hkdfSync("sha256", idSeed, archive, info, 32));
}

/** The id of a chunk's plaintext. */
export function chunkIdOf(idKey: Uint8Array, plaintext: Uint8Array): ChunkId {
  return createHmac("sha256", idKey).update(plaintext).digest() as Uint8Array as ChunkId;
}
