// The map root (docs/archive-format.md, F19).

import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, toHex } from "../../../protocol/bytes.ts";
import {
  groupChunks,
  groupCount,
  groupDigest,
  mapRootBuilder,
  mapRootOf,
} from "../../../protocol/archive/map-root.ts";

const chunkSize = 65_536;
const id = (n: number): Uint8Array => createHash("sha256").update(`${n}`).digest();

/** Runs that cover a map; 0 is a hole. Some of them are longer than a group. */
const runs = fc.array(
  fc.tuple(fc.nat(3), fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 9000 }))),
  { maxLength: 12 },
);

function wholeMap(list: readonly (readonly [number, number])[]): Uint8Array {
  return concatBytes(
    list.flatMap(([n, run]) => Array.from({ length: run }, () => (n === 0 ? new Uint8Array(32) : id(n)))),
  );
}

describe("F19: the builder makes the root that follows from the groups", () => {
  test("for any map, and whatever the runs", () => {
    fc.assert(
      fc.property(runs, fc.nat(chunkSize - 1), (list, short) => {
        const map = wholeMap(list);
        const chunks = map.length / 32;
        const size = chunks === 0 ? 0 : chunks * chunkSize - short;
        const groups = Array.from({ length: groupCount(size, chunkSize) }, (_, i) =>
          groupDigest(i, map.subarray(i * groupChunks * 32, (i + 1) * groupChunks * 32)),
        );
        const wanted = toHex(mapRootOf(size, chunkSize, concatBytes(groups)));
        const byRuns = mapRootBuilder(size, chunkSize);
        for (const [n, run] of list) byRuns.add(n === 0 ? undefined : id(n), run);
        expect(toHex(byRuns.root())).toBe(wanted);
        const oneByOne = mapRootBuilder(size, chunkSize);
        for (let at = 0; at < map.length; at += 32) oneByOne.add(map.subarray(at, at + 32), 1);
        expect(toHex(oneByOne.root())).toBe(wanted);
      }),
      { numRuns: 40 },
    );
  });

  test("size, chunk size, place and content each change it", () => {
    const root = (size: number, of: number, list: readonly (readonly [number, number])[]): string => {
      const builder = mapRootBuilder(size, of);
      for (const [n, run] of list) builder.add(n === 0 ? undefined : id(n), run);
      return toHex(builder.root());
    };
    const roots = [
      root(3 * chunkSize, chunkSize, [
        [1, 2],
        [0, 1],
      ]),
      root(3 * chunkSize - 1, chunkSize, [
        [1, 2],
        [0, 1],
      ]),
      root(6 * chunkSize, 2 * chunkSize, [
        [1, 2],
        [0, 1],
      ]),
      root(3 * chunkSize, chunkSize, [
        [1, 1],
        [0, 1],
        [1, 1],
      ]),
      root(3 * chunkSize, chunkSize, [
        [2, 2],
        [0, 1],
      ]),
      root(3 * chunkSize, chunkSize, [[0, 3]]),
    ];
    expect(new Set(roots).size).toBe(roots.length);
  });

  test("equal groups at different places have different digests", () => {
    const ids = concatBytes(Array.from({ length: 10 }, () => id(1)));
    expect(toHex(groupDigest(0, ids))).not.toBe(toHex(groupDigest(1, ids)));
    expect(toHex(groupDigest(7, new Uint8Array(320)))).toBe("00".repeat(32));
  });

  test("a pebibyte of holes takes no longer than its groups", () => {
    const builder = mapRootBuilder(2 ** 50, 4 * 2 ** 20);
    builder.add(undefined, 2 ** 28);
    expect(toHex(builder.root())).toBe(
      toHex(mapRootOf(2 ** 50, 4 * 2 ** 20, new Uint8Array((2 ** 28 / 4096) * 32))),
    );
  });

  test("a map that is too long, too short, or of ids of another length is the caller's bug", () => {
    const builder = mapRootBuilder(2 * chunkSize, chunkSize);
    expect(() => builder.root()).toThrow(RangeError);
    expect(() => builder.add(undefined, 3)).toThrow(RangeError);
    expect(() => builder.add(new Uint8Array(31), 1)).toThrow(RangeError);
    builder.add(undefined, 2);
    expect(() => builder.add(undefined, 1)).toThrow(RangeError);
  });
});
