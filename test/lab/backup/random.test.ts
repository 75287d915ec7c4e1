// Random steps on real thin volumes (random.ts), with a seed that is always the same and a fresh one. Seeds are
// printed; a failed one is repeated with SPARSEBAK_SEED.

import { test } from "vitest";
import { long, runProgram } from "./run-program.ts";

const fresh = Math.floor(Math.random() * 2 ** 31);
const seeds =
  process.env["SPARSEBAK_SEED"] === undefined ? [20_261_123, fresh] : [Number(process.env["SPARSEBAK_SEED"])];

test.each(seeds)("random steps, seed %i", async (seed) => {
  await runProgram("random", [String(seed), long ? "200" : "20"]);
});
