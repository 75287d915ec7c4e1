// What dom0 accepts as a chunk: what its manifest says and nothing else, checked before zstd sees it (archive-format.md,
// F25).

import { constants, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { ArchiveUuid, ChunkId } from "../../../protocol/archive/types.ts";
import { chunkOpener, chunkSealBytes, chunkSealer } from "../../../protocol/seal/chunk-seal.ts";
import { type ExpectedChunk, openChunk } from "../../../protocol/seal/open-chunk.ts";
import { chunkIdOf } from "../../../protocol/archive/chunk-id.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";

const idKey = new Uint8Array(32).fill(9);
const plain = new Uint8Array(65_536).map((_, i) => (i * i) >> 3);

function compress(bytes: Uint8Array): Uint8Array {
  const params = { [constants.ZSTD_c_checksumFlag]: 1 };
  return Uint8Array.from(zstdCompressSync(bytes, { params }));
}

/** What an honest manifest would say of `stored`. */
function expectedOf(stored: Uint8Array, plaintext: Uint8Array = plain): ExpectedChunk {
  return {
    id: chunkIdOf(idKey, plaintext),
    checksum: sha256(stored),
    storedLength: stored.length,
    length: plaintext.length,
  };
}

describe("openChunk", () => {
  const stored = compress(plain);

  test("gives the plaintext", () => {
    expect(openChunk(stored, expectedOf(stored), idKey, undefined)).toEqual(Buffer.from(plain));
  });

  test("refuses another length, another byte, another id, each by its own reason", () => {
    const expected = expectedOf(stored);
    expect(() => openChunk(stored.subarray(1), expected, idKey, undefined)).toThrow(/stored bytes, wanted/);
    for (const at of [0, 20, stored.length - 1]) {
      const changed = stored.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => openChunk(changed, expected, idKey, undefined)).toThrow(/checksum/);
    }
    const other = { ...expected, id: new Uint8Array(32).fill(1) };
    expect(() => openChunk(stored, other, idKey, undefined)).toThrow(/id that its manifest names/);
    expect(() => openChunk(stored, expected, new Uint8Array(32), undefined)).toThrow(/id that/);
  });

  test("refuses a sealed chunk with any byte changed, the CRC's too, before it opens the seal", () => {
    const archive = new Uint8Array(16).fill(3) as ArchiveUuid;
    const { id } = expectedOf(stored);
    const into = new Uint8Array(stored.length + chunkSealBytes);
    chunkSealer(idKey, archive).seal(id as ChunkId, stored, into, 0);
    const expected = { ...expectedOf(into), id };
    const opener = chunkOpener(idKey, archive);
    expect(openChunk(into, expected, idKey, opener)).toEqual(Buffer.from(plain));
    for (const at of [0, 20, 40, into.length - 20, into.length - 4, into.length - 1]) {
      const changed = into.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => openChunk(changed, expected, idKey, opener), `byte ${at}`).toThrow(/checksum/);
    }
  });

  test("refuses what only the manifest vouches for: no frame, a bomb, a rest, a short one", () => {
    const noise = new Uint8Array(1000).fill(7);
    expect(() => openChunk(noise, expectedOf(noise), idKey, undefined)).toThrow(/zstd can't decompress/);
    const bomb = compress(new Uint8Array(64 * 1024 * 1024));
    expect(() => openChunk(bomb, expectedOf(bomb), idKey, undefined)).toThrow(
      /zstd can't decompress it to 65536 bytes/,
    );
    const rest = Buffer.concat([stored, Buffer.from("rest")]);
    expect(() => openChunk(rest, expectedOf(rest), idKey, undefined)).toThrow(/zstd/);
    const short = compress(plain.subarray(0, 1000));
    expect(() => openChunk(short, expectedOf(short), idKey, undefined)).toThrow(
      /decompresses to 1000 bytes, wanted 65536/,
    );
  });
});
