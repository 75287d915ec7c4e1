// References sorted on disk in many small runs give what a set in memory gives.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { chunkRefs } from "../../../dom0-agent/prune/chunk-refs.ts";
import { tempDir } from "../../support/temp-dir.ts";

test("every reference once, sorted, whatever the order and the number of runs", () => {
  const pair = fc.tuple(
    fc.integer({ min: 0, max: 4 }),
    fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 2 ** 34 - 1 })),
  );
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 200 }), fc.integer({ min: 1, max: 40 }), (pairs, inMemory) => {
      using directory = tempDir();
      using refs = chunkRefs(join(directory.path, "refs"), 5, 65_536, inMemory);
      for (const [container, chunk] of pairs) refs.add(container, chunk);
      refs.finish();
      for (let container = 0; container < 5; container++) {
        const wanted = [...new Set(pairs.filter(([of]) => of === container).map(([, chunk]) => chunk))].sort(
          (a, b) => a - b,
        );
        expect(refs.count(container)).toBe(wanted.length);
        expect([...refs.of(container)]).toEqual(wanted);
      }
    }),
  );
});

test("its files go with it, and more containers than fit are refused", () => {
  using directory = tempDir();
  chunkRefs(join(directory.path, "refs"), 3, 65_536)[Symbol.dispose]();
  expect(readdirSync(directory.path)).toEqual([]);
  expect(() => chunkRefs(join(directory.path, "refs"), 2 ** 20, 65_536)).toThrow(
    /share chunks, wanted at most/,
  );
});
