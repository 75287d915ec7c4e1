// The model test, of whatever world: a test for each seed. SPARSEBAK_SEED, SPARSEBAK_MODEL_STEPS and SPARSEBAK_MODEL_LOG
// change what it does (docs/testing.md).

import { appendFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Random } from "../../fuzz/random.ts";
import { runModel } from "./run.ts";
import type { World } from "./world.ts";

export interface ModelTest {
  readonly title: string;
  readonly makeWorld: (sealed: boolean, random: Random) => Promise<World>;
  /** Unless others are asked for. An odd seed is of a sealed archive. */
  readonly seeds: readonly number[];
  readonly steps: number;
}

export function testModel({ title, makeWorld, ...given }: ModelTest): void {
  const asked = process.env["SPARSEBAK_SEED"];
  const fresh = Math.floor(Math.random() * 2 ** 31);
  const seeds = asked === undefined ? given.seeds : [asked === "fresh" ? fresh : Number(asked)];
  const steps = Number(process.env["SPARSEBAK_MODEL_STEPS"] ?? given.steps);
  test.each(seeds)(`${title}, seed %i`, { timeout: 60_000 * (5 + steps) }, async (seed) => {
    const said: string[] = [];
    const log = process.env["SPARSEBAK_MODEL_LOG"];
    const say = (text: string): void => {
      said.push(text);
      if (log !== undefined) appendFileSync(log, `${text}\n`);
    };
    try {
      await runModel(makeWorld, seed, steps, say);
    } catch (error) {
      // What led there; with SPARSEBAK_SEED it is done again.
      console.log(said.join("\n"));
      throw error;
    }
    expect(said.length).toBeGreaterThanOrEqual(steps);
  });
}
