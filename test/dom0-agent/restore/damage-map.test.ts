// What a lost chunk costs, session by session, against a model that is as plain as can be: every session's whole map,
// chunk by chunk, and whether what it names is lost.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { isSet } from "../../../dom0-agent/delta/bitmap.ts";
import { damageMap } from "../../../dom0-agent/restore/damage-map.ts";

const chunkSize = 65_536;

/** A volume's content over time: which stored chunk each address has (0: a hole), and how short its last chunk is. */
const states = fc.array(
  fc.record({
    values: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 40 }),
    tail: fc.constantFrom(0, 1000),
  }),
  { minLength: 1, maxLength: 8 },
);

const sizeOf = ({ values, tail }: { readonly values: readonly number[]; readonly tail: number }): number =>
  values.length * chunkSize - tail;

test("a session is damaged exactly where its map names something lost", () => {
  fc.assert(
    fc.property(states, fc.uniqueArray(fc.integer({ min: 1, max: 6 })), (sessions, lostValues) => {
      const lost = new Set(lostValues);
      const damage = damageMap(chunkSize);
      let before: readonly number[] = [];
      let size = 0;
      for (const session of sessions) {
        const newSize = sizeOf(session);
        damage.next(newSize);
        const { values } = session;
        // What a manifest names: what differs, and after a change of size all from the smaller end on (F23).
        const smaller = newSize === size ? Infinity : Math.floor(Math.min(size, newSize) / chunkSize);
        for (let at = 0; at < values.length;) {
          const value = values[at] ?? 0;
          if (value === before[at] && at < smaller) {
            at++;
            continue;
          }
          let run = 1;
          while (values[at + run] === value && (before[at + run] !== value || at + run >= smaller)) run++;
          damage.name(at, run, lost.has(value));
          at += run;
        }
        expect(damage.damaged.length).toBe(values.length);
        for (const [at, value] of values.entries()) expect(isSet(damage.damaged, at)).toBe(lost.has(value));
        before = values;
        size = newSize;
      }
    }),
  );
});
