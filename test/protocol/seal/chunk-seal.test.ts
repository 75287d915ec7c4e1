// The stored form of a sealed chunk (archive-format.md, F25 and F26).

import { describe, expect, test } from "vitest";
import { chunkIdOf } from "../../../protocol/archive/chunk-id.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ArchiveUuid, ChunkId } from "../../../protocol/archive/types.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { chunkOpener, chunkSealBytes, chunkSealer } from "../../../protocol/seal/chunk-seal.ts";
import { groupKey, sealedIdKey } from "../../../protocol/seal/keys.ts";
import { archive, group, known, master, salt } from "./known.ts";

const vector = known("chunk");
const key = groupKey(master, archive, group);
const frame = vector.bytes("frame");
const id = vector.bytes("id") as ChunkId;

function sealed(sealer = chunkSealer(key, archive)): Uint8Array {
  const target = new Uint8Array(frame.length + 100);
  const length = sealer.seal(id, frame, target, 13);
  return target.slice(13, 13 + length);
}
function codeOf(run: () => unknown): string {
  try {
    run();
    return "ok";
  } catch (error) {
    if (error instanceof FormatError) return error.code;
    throw error;
  }
}

describe("a sealed chunk", () => {
  test("is what the independent computation says", () => {
    expect(chunkIdOf(sealedIdKey(key, archive), vector.bytes("plaintext"))).toEqual(Buffer.from(id));
    const sealer = chunkSealer(key, archive, () => salt);
    const first = sealed(sealer);
    expect(first).toEqual(vector.bytes("first"));
    expect(sealed(sealer)).toEqual(vector.bytes("second"));
    expect(sha256(first)).toEqual(vector.bytes("checksum"));
    expect(first.length).toBe(frame.length + chunkSealBytes);
    const opener = chunkOpener(key, archive);
    for (const each of ["first", "second"]) {
      expect(Buffer.from(opener.open(vector.bytes(each), id))).toEqual(Buffer.from(frame));
    }
  });

  test("opens under its own id, group and archive only", () => {
    const stored = sealed();
    const other = id.slice() as ChunkId;
    other[0] = (other[0] ?? 0) ^ 1;
    const strange = new Uint8Array(16).fill(1) as ArchiveUuid;
    expect(codeOf(() => chunkOpener(key, archive).open(stored, id))).toBe("ok");
    expect(codeOf(() => chunkOpener(key, archive).open(stored, other))).toBe("bad-mac");
    expect(codeOf(() => chunkOpener(key, strange).open(stored, id))).toBe("bad-mac");
    expect(codeOf(() => chunkOpener(new Uint8Array(32), archive).open(stored, id))).toBe("bad-mac");
  });

  test("is refused with any byte changed before the CRC, or cut off", () => {
    const stored = sealed();
    const opener = chunkOpener(key, archive);
    for (let at = 0; at < stored.length - 4; at++) {
      const changed = stored.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      expect(
        codeOf(() => opener.open(changed, id)),
        `byte ${at}`,
      ).not.toBe("ok");
      expect(codeOf(() => opener.open(stored.subarray(0, at), id))).not.toBe("ok");
    }
  });

  test("never repeats a pair of salt and nonce, whoever seals", () => {
    const seen = new Set<string>();
    for (let sealers = 0; sealers < 20; sealers++) {
      const sealer = chunkSealer(key, archive);
      for (let i = 0; i < 50; i++) seen.add(Buffer.from(sealed(sealer).subarray(0, 28)).toString("hex"));
    }
    expect(seen.size).toBe(1000);
  });
});
