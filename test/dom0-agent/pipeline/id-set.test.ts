import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { hasId, idSet } from "../../../dom0-agent/pipeline/id-set.ts";

const idOf = (n: number): Uint8Array => new Uint8Array(createHash("sha256").update(String(n)).digest());

test("a set has the ids that it was made of and no others, wherever they stand", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(300)), fc.array(fc.nat(300)), (inside, asked) => {
      const set = idSet(inside.map(idOf));
      expect(set.length).toBe(new Set(inside).size * 32);
      const many = Buffer.concat(asked.map(idOf));
      expect(asked.map((_, i) => hasId(set, many, i * 32))).toEqual(asked.map((n) => inside.includes(n)));
    }),
  );
});

test("ids that differ in their last byte alone are told apart; no set has the id of a hole", () => {
  const one = new Uint8Array(32).fill(200);
  const other = one.with(31, 201);
  expect([one, other].map((id) => hasId(idSet([one]), id, 0))).toEqual([true, false]);
  expect(hasId(idSet([one, other]), new Uint8Array(32), 0)).toBe(false);
});
