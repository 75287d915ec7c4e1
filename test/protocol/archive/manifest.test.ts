// Manifest records (docs/archive-format.md, F20 and F21).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, InternalError } from "../../../protocol/errors.ts";
import {
  chunkCount,
  chunkLength,
  type ChunkEntry,
  decodeManifestHead,
  encodeManifestHead,
  encodeRecord,
  type ManifestEntry,
  maxManifestHeadBytes,
  recordBytes,
  recordReader,
} from "../../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { entriesOf } from "../arbitraries.ts";
import { plain } from "../vectors/read.ts";

const chunkSize = 65_536;
const of = { size: 20 * chunkSize + 1, chunkSize, containers: [] };

function encodeAll(entries: readonly ManifestEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * recordBytes);
  entries.forEach((entry, i) => encodeRecord(bytes, i * recordBytes, entry));
  return bytes;
}
const hole = (index: number, run: number): ManifestEntry => ({
  kind: "hole",
  address: (index * chunkSize) as ChunkAddress,
  run,
});
const chunk = (index: number, run = 1): ChunkEntry => ({
  kind: "chunk",
  address: (index * chunkSize) as ChunkAddress,
  run,
  id: new Uint8Array(32).fill(1) as ChunkEntry["id"],
  container: 0,
  storedAddress: 0 as ChunkAddress,
  storedLength: 10,
  checksum: new Uint8Array(32) as ChunkEntry["checksum"],
});
const code = (entries: readonly ManifestEntry[]): string => {
  try {
    recordReader(of).read(encodeAll(entries));
    return "ok";
  } catch (error) {
    return error instanceof FormatError ? error.code : String(error);
  }
};

describe("F21: records rise, stay apart and inside", () => {
  test("in whatever stretches they are read", () => {
    fc.assert(
      fc.property(entriesOf({ ...of, containers: 0 }), fc.array(fc.nat(12)), (entries, cuts) => {
        const bytes = encodeAll(entries);
        const reader = recordReader(of);
        const found: ManifestEntry[] = [];
        let at = 0;
        for (const cut of [
          ...cuts.map((each) => each % (entries.length + 1)).sort((a, b) => a - b),
          entries.length,
        ]) {
          found.push(...reader.read(bytes.slice(at * recordBytes, cut * recordBytes)));
          at = cut;
        }
        expect(plain(found)).toEqual(plain(entries));
      }),
    );
  });

  test("any two records in any order: accepted only where the second begins behind the first", () => {
    const place = fc.tuple(fc.nat(25), fc.integer({ min: 1, max: 6 }), fc.boolean());
    fc.assert(
      fc.property(place, place, (a, b) => {
        const entries = [a, b].map(([index, run, isHole]) => (isHole ? hole(index, run) : chunk(index, run)));
        // Chunk 20 is the short one at the end.
        const fits = [a, b].every(
          ([index, run, isHole]) => index + run <= 21 && (isHole || run === 1 || index + run <= 20),
        );
        expect(code(entries)).toEqual(
          !fits ? expect.stringMatching(/^bad-/) : b[0] >= a[0] + a[1] ? "ok" : "bad-order",
        );
      }),
    );
  });

  test("the order is kept up from one stretch to the next", () => {
    const reader = recordReader(of);
    reader.read(encodeAll([hole(3, 4)]));
    expect(() => reader.read(encodeAll([hole(6, 1)]))).toThrow(
      expect.objectContaining({ code: "bad-order" }),
    );
  });

  test("half a record is refused", () => {
    expect(() => recordReader(of).read(new Uint8Array(recordBytes + 1))).toThrow(
      expect.objectContaining({ code: "truncated" }),
    );
  });

  test("a volume of no bytes has no records", () => {
    const reader = recordReader({ ...of, size: 0 });
    expect(reader.read(new Uint8Array(0))).toEqual([]);
    expect(() => reader.read(encodeAll([hole(0, 1)]))).toThrow(FormatError);
  });

  test("what a record can't hold is a bug of the writer, never wrapped to fewer bits", () => {
    const write = (entry: ManifestEntry) => () => encodeRecord(new Uint8Array(recordBytes), 0, entry);
    for (const run of [0, -1, 2 ** 32, 2 ** 34, Number.NaN])
      expect(write(hole(0, run)), `${run}`).toThrow(InternalError);
    expect(write({ ...chunk(0), container: 0xffff_ffff })).toThrow(InternalError);
    expect(write({ ...chunk(0), id: new Uint8Array(31) as never })).toThrow(InternalError);
    expect(write({ ...chunk(0), checksum: new Uint8Array(33) as never })).toThrow(InternalError);
  });
});

describe("F20: the head", () => {
  const identity = {
    archive: new Uint8Array(16).fill(1),
    volume: new Uint8Array(16).fill(2),
    generation: 3,
  } as unknown as Parameters<typeof encodeManifestHead>[0];
  const session = new Uint8Array(16).fill(4) as ChunkEntry["id"] as unknown as Parameters<
    typeof encodeManifestHead
  >[1]["session"];
  const table = { volume: identity.volume, session };

  test("the largest fits in maxManifestHeadBytes, and the records follow at once", () => {
    const containers = Array.from({ length: 262_144 }, () => table);
    const bytes = encodeManifestHead(identity, { session, size: 5 * chunkSize, chunkSize, containers }, 5);
    expect(bytes.length).toBe(maxManifestHeadBytes);
    const found = decodeManifestHead(bytes, bytes.length + 5 * recordBytes + 32);
    expect(found).toMatchObject({ records: 5, recordsAt: bytes.length, size: 5 * chunkSize });
    expect(found.containers.length).toBe(262_144);
  });

  test("a count of records that the file's length does not bear out is refused, however large", () => {
    for (const records of [0, 1, 2, 1000, Number.MAX_SAFE_INTEGER]) {
      const bytes = encodeManifestHead(
        identity,
        { session, size: 2 ** 50, chunkSize, containers: [] },
        records,
      );
      for (const length of [
        0,
        bytes.length,
        bytes.length + 32 + recordBytes + 1,
        bytes.length + 32 + 3 * recordBytes,
      ]) {
        expect(() => decodeManifestHead(bytes, length), `${records} in ${length}`).toThrow(FormatError);
      }
    }
  });
});

describe("chunks of a volume", () => {
  test("the last may be short", () => {
    expect(chunkCount(0, chunkSize)).toBe(0);
    expect(chunkCount(1, chunkSize)).toBe(1);
    expect(chunkCount(2 ** 50, chunkSize)).toBe(2 ** 34);
    expect(chunkLength(0, 100, chunkSize)).toBe(100);
    expect(chunkLength(chunkSize, chunkSize + 5, chunkSize)).toBe(5);
    expect(chunkLength(chunkSize, 2 * chunkSize, chunkSize)).toBe(chunkSize);
  });
});
