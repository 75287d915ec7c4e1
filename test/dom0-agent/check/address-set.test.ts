// Addresses of lost chunks: a destination can lose as many as there are, and has to fill no memory by it.

import { describe, expect, test } from "vitest";
import { addressSet } from "../../../dom0-agent/check/address-set.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";

const kib64 = 65_536;
const at = (chunk: number): ChunkAddress => (chunk * kib64) as ChunkAddress;

describe("addresses of chunks", () => {
  test("are there once, and rise", () => {
    const last = (2 ** 53 - kib64) as ChunkAddress;
    const added = [at(9), last, at(0), at(65_536), at(7), at(65_535), at(9), at(8)];
    const set = addressSet(added);
    expect([...set]).toEqual([at(0), at(7), at(8), at(9), at(65_535), at(65_536), last]);
    expect(set.size).toBe(7);
    expect(added.every((each) => set.has(each))).toBe(true);
    expect([at(1), at(10), at(65_537), at(131_072)].some((each) => set.has(each))).toBe(false);
  });

  test("of two terabytes, each second chunk, take a few megabytes", () => {
    const before = process.memoryUsage();
    const set = addressSet();
    for (let i = 0; i < 17_000_000; i++) set.add(at(2 * i));
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    expect(set.size).toBe(17_000_000);
    expect(arrayBuffers - before.arrayBuffers).toBeLessThan(8_000_000);
    expect(heapUsed - before.heapUsed).toBeLessThan(64_000_000);
    expect(set.has(at(33_999_998))).toBe(true);
  });
});
