import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bitmap,
  countSet,
  isSet,
  resized,
  runsOf,
  setExtent,
  setRange,
  union,
} from "../../../dom0-agent/delta/bitmap.ts";

const ranges = fc.array(fc.tuple(fc.nat(300), fc.nat(80)), { maxLength: 12 });

function setOf(length: number, pairs: readonly (readonly [number, number])[]): Set<number> {
  const set = new Set<number>();
  for (const [from, count] of pairs) for (let i = from; i < Math.min(from + count, length); i++) set.add(i);
  return set;
}

describe("bitmap", () => {
  test("holds the union of the ranges that were set, and its runs are those bits and no others", () => {
    fc.assert(
      fc.property(fc.nat(300), ranges, (length, pairs) => {
        const map = bitmap(length);
        for (const [from, count] of pairs) setRange(map, from, from + count);
        const wanted = setOf(length, pairs);
        const found = new Set<number>();
        let before = -1;
        for (const { start, count } of runsOf(map)) {
          expect(start).toBeGreaterThan(before);
          expect(count).toBeGreaterThan(0);
          for (let i = start; i < start + count; i++) found.add(i);
          // Runs are maximal: one bit at least lies between them.
          before = start + count;
        }
        expect(found).toEqual(wanted);
        expect(countSet(map)).toBe(wanted.size);
        for (let i = 0; i < length; i++) expect(isSet(map, i)).toBe(wanted.has(i));
      }),
    );
  });

  test("an extent sets every chunk that it touches, if only by a byte", () => {
    const map = bitmap(10);
    setExtent(map, { offset: 4096 - 1, length: 2 }, 4096);
    expect([...runsOf(map)]).toEqual([{ start: 0, count: 2 }]);
    setExtent(map, { offset: 4096 * 9, length: 4096 * 5 }, 4096);
    expect(countSet(map)).toBe(3);
  });

  test("bytes with a bit past the end are refused", () => {
    expect(() => bitmap(4, Uint8Array.of(0x10))).toThrow(RangeError);
    expect(() => bitmap(4, Uint8Array.of(0x0f, 0))).toThrow(RangeError);
    expect(bitmap(8, Uint8Array.of(0xff)).length).toBe(8);
  });

  test("a volume that shrank and grew again is changed from the smaller end on (design section 5)", () => {
    const chunk = 100;
    const before = bitmap(10);
    const shrunk = resized(before, 1000, 450, chunk);
    expect(shrunk.length).toBe(5);
    expect([...runsOf(shrunk)]).toEqual([{ start: 4, count: 1 }]);
    const grown = resized(shrunk, 450, 1000, chunk);
    expect([...runsOf(grown)]).toEqual([{ start: 4, count: 6 }]);
    expect([...runsOf(resized(before, 1000, 1000, chunk))]).toEqual([]);
  });

  test("the union has the bits of both, and none past its end", () => {
    const a = bitmap(9);
    const b = bitmap(20);
    setRange(a, 0, 2);
    setRange(b, 8, 20);
    const both = union(a, b);
    expect([...runsOf(both)]).toEqual([
      { start: 0, count: 2 },
      { start: 8, count: 1 },
    ]);
    expect(both.bytes[1]).toBe(1);
  });
});
