// The short form of ./run fuzz: a seed that never changes, and one that is new each time and is printed.

import { describe, expect, test } from "vitest";
import { random } from "./random.ts";
import { targets } from "./targets.ts";

const framesOfEach = 4000;
const fresh = Math.floor(Math.random() * 2 ** 31);

describe.each([
  ["a fixed seed", 1],
  [`seed ${fresh}`, fresh],
])("%s", (_, seed) => {
  test.each(targets(seed).map((target, index) => [target.name, target, index] as const))(
    "%s",
    async (_name, target, index) => {
      const source = random(seed + index);
      const wanted = target.slow === true ? framesOfEach / 20 : framesOfEach;
      let done = 0;
      while (done < wanted) done += await target.feed(source);
      target.end?.();
      expect(done).toBeGreaterThanOrEqual(wanted);
    },
  );
});

test("a seed repeats its sequence", () => {
  const [one, same, other] = [random(7), random(7), random(8)];
  const draw = (source: typeof one): number[] => Array.from({ length: 20 }, () => source.below(1000));
  const first = draw(one);
  expect(draw(same)).toEqual(first);
  expect(draw(other)).not.toEqual(first);
});
