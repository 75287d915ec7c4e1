// The stored form of a chunk in a sealed archive (docs/archive-format.md, F25):
//
//   salt 16 | nonce 12 | ciphertext of the zstd frame | tag 16 | CRC-32 of all before, u32
//
// The associated data is archive ‖ "chunk" ‖ chunk id: a stored form opens as the chunk that it was made of and as no
// other; where it belongs, the authenticated manifest alone says.

import { createCipheriv, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import type { ArchiveUuid, ChunkId } from "../archive/types.ts";
import { concatBytes, freeBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { utf8 } from "../wire/writer.ts";
import { gcmTagBytes, nonceBytes, openBytes } from "./gcm.ts";
import { deriveKey } from "./keys.ts";

const saltBytes = 16;
const crcBytes = 4;
const headBytes = saltBytes + nonceBytes;
/** Bytes that sealing adds to a zstd frame. */
export const chunkSealBytes: number = headBytes + gcmTagBytes + crcBytes;
/** Sealings under one salt: far below what a key of AES-GCM stands. */
const maxSealings = 2 ** 32;

const label = utf8("chunk");

/** Seals chunks of one group. */
export interface ChunkSealer {
  /** Writes the stored form of `frame` into `target` from `at` on; gives its length. */
  seal(id: ChunkId, frame: Uint8Array, target: Uint8Array, at: number): number;
}

/**
 * A sealer under the group's key, with a random salt of its own and nonces counted from 0: no two sealers, processes,
 * machines or lives of one ever share a pair of key and nonce, and nothing has to be remembered for it (design
 * section 8). `drawSalt` is for vectors only.
 */
export function chunkSealer(
  key: Uint8Array,
  archive: ArchiveUuid,
  drawSalt: () => Uint8Array = () => randomBytes(saltBytes),
): ChunkSealer {
  const associated = concatBytes([archive, label, new Uint8Array(32)]);
  const idAt = archive.length + label.length;
  const nonce = new Uint8Array(nonceBytes);
  const nonceView = new DataView(nonce.buffer);
  let salt = drawSalt();
  let chunkKey = deriveKey(key, archive, label, salt);
  let counter = 0;

  return {
    seal: (id, frame, target, at) => {
      if (counter === maxSealings) {
        salt = drawSalt();
        chunkKey = deriveKey(key, archive, label, salt);
        counter = 0;
      }
      nonceView.setUint32(8, counter++);
      associated.set(id, idAt);
      const cipher = createCipheriv("aes-256-gcm", chunkKey, nonce, { authTagLength: gcmTagBytes });
      cipher.setAAD(associated);
      target.set(salt, at);
      target.set(nonce, at + saltBytes);
      const tagAt = at + headBytes + frame.length;
      const ciphertext = cipher.update(frame);
      target.set(ciphertext, at + headBytes);
      freeBytes(ciphertext);
      cipher.final();
      target.set(cipher.getAuthTag(), tagAt);
      const crcAt = tagAt + gcmTagBytes;
      const crc = crc32(target.subarray(at, crcAt));
      new DataView(target.buffer, target.byteOffset + crcAt, crcBytes).setUint32(0, crc);
      return crcAt + crcBytes - at;
    },
  };
}

/** Opens chunks of one group. */
export interface ChunkOpener {
  /** The zstd frame in a stored form. Throws FormatError: `truncated`; `bad-mac`: not what was sealed under that id. The
   *  CRC is not looked at: it is for whoever has neither key nor checksum. The plaintext's id is still to be compared. */
  open(untrusted: Uint8Array, id: Uint8Array): Uint8Array;
}

/** Chunk keys that an opener keeps: one for every worker of the sends that it meets. */
const keptKeys = 256;

/** An opener under the group's key. */
export function chunkOpener(key: Uint8Array, archive: ArchiveUuid): ChunkOpener {
  const chunkKeys = new Map<string, Uint8Array>();
  const chunkKeyOf = (salt: Uint8Array): Uint8Array => {
    const name = Buffer.from(salt).toString("latin1");
    const known = chunkKeys.get(name);
    if (known !== undefined) return known;
    if (chunkKeys.size >= keptKeys) chunkKeys.clear();
    const derived = deriveKey(key, archive, label, salt);
    chunkKeys.set(name, derived);
    return derived;
  };
  return {
    open: (untrusted, id) => {
      if (untrusted.length < chunkSealBytes)
        throw new FormatError("truncated", `open chunk: ${untrusted.length} bytes are no sealed chunk`);
      const crcAt = untrusted.length - crcBytes;
      return openBytes(
        chunkKeyOf(untrusted.subarray(0, saltBytes)),
        untrusted.subarray(saltBytes, headBytes),
        concatBytes([archive, label, id]),
        untrusted.subarray(headBytes, crcAt),
        "chunk",
      );
    },
  };
}
