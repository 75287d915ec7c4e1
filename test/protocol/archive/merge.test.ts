// The map of a session from manifests, against a model that keeps the whole map in an array (docs/archive-format.md,
// F22 and F23).

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ManifestEntry } from "../../../protocol/archive/manifest.ts";
import { type EntrySource, mergeManifests } from "../../../protocol/archive/merge.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";

const chunkSize = 65_536;

/** An entry that says which session and which record it is by its identity. */
const entry = (start: number, run: number, hole: boolean, mark: number): ManifestEntry => ({
  address: (start * chunkSize) as ChunkAddress,
  run,
  ...(hole
    ? { kind: "hole" }
    : {
        kind: "chunk",
        id: new Uint8Array(32).fill(mark % 255) as never,
        container: mark,
        storedAddress: 0 as ChunkAddress,
        storedLength: 1,
        checksum: new Uint8Array(32) as never,
      }),
});
const source = (entries: readonly ManifestEntry[]): EntrySource => {
  let at = 0;
  return { next: () => entries[at++] };
};

interface ModelSession {
  readonly chunks: number;
  readonly entries: readonly ManifestEntry[];
}

/** Sessions one after the other, each with its size in chunks; growth names everything behind the smaller end. */
const history = fc
  .array(
    fc.record({
      chunks: fc.oneof(fc.nat(12), fc.nat(60)),
      runs: fc.array(fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 8 }), fc.boolean()), { maxLength: 10 }),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((list) => {
    const sessions: ModelSession[] = [];
    let before = 0;
    for (const [number, { chunks, runs }] of list.entries()) {
      const grownFrom = sessions.length > 0 && chunks > before ? Math.max(0, before - 1) : chunks;
      const entries: ManifestEntry[] = [];
      let at = 0;
      for (const [i, [gap, run, hole]] of runs.entries()) {
        const start = at + gap;
        const end = Math.min(start + run, grownFrom);
        if (end <= start) break;
        entries.push(entry(start, end - start, hole, number * 100 + i));
        at = end;
      }
      if (chunks > grownFrom)
        entries.push(entry(grownFrom, chunks - grownFrom, number % 2 === 0, number * 100 + 50));
      sessions.push({ chunks, entries });
      before = chunks;
    }
    return sessions;
  });

/** The map of the last session, chunk by chunk: the record that each comes from. */
function naive(sessions: readonly ModelSession[]): (ManifestEntry | undefined)[] {
  let map: (ManifestEntry | undefined)[] = [];
  for (const { chunks, entries } of sessions) {
    map = Array.from({ length: chunks }, (_, i) => map[i]);
    for (const each of entries) {
      for (let i = 0; i < each.run; i++) map[each.address / chunkSize + i] = each;
    }
  }
  return map;
}

describe("F22: newer manifests hide older ones, chunk by chunk", () => {
  test("any history of growth, shrinkage, holes and runs", () => {
    fc.assert(
      fc.property(history, fc.nat(65_535), (sessions, short) => {
        const chunks = sessions.at(-1)!.chunks;
        const size = chunks * chunkSize - (chunks === 0 ? 0 : short);
        const newestFirst = sessions.map((each) => source(each.entries)).reverse();
        const found: (ManifestEntry | undefined)[] = [];
        for (const step of mergeManifests(newestFirst, size, chunkSize)) {
          expect(step.address).toBe(found.length * chunkSize);
          expect(step.run).toBeGreaterThan(0);
          for (let i = 0; i < step.run; i++) found.push(step.entry);
        }
        expect(found).toEqual(naive(sessions));
      }),
      { numRuns: 500 },
    );
  });

  test("nothing at all is a hole from end to end", () => {
    expect([...mergeManifests([], 5 * chunkSize, chunkSize)]).toEqual([
      { entry: undefined, address: 0, run: 5 },
    ]);
    expect([...mergeManifests([source([])], 0, chunkSize)]).toEqual([]);
  });

  test("a pebibyte with one changed chunk costs three steps", () => {
    const steps = [...mergeManifests([source([entry(1000, 1, false, 7)])], 2 ** 50, chunkSize)];
    expect(steps.map((each) => each.run)).toEqual([1000, 1, 2 ** 34 - 1001]);
  });

  test("F23: what a volume lost when it shrank does not come back when it grows", () => {
    const first = [entry(0, 10, false, 1)];
    const shrunk: ManifestEntry[] = [];
    const grown = [entry(4, 6, true, 2)];
    const found = [
      ...mergeManifests([source(grown), source(shrunk), source(first)], 10 * chunkSize, chunkSize),
    ];
    expect(found.map((each) => [each.address / chunkSize, each.run, each.entry?.kind])).toEqual([
      [0, 4, "chunk"],
      [4, 6, "hole"],
    ]);
  });
});
