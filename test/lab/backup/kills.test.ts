// Monitor and send killed on real thin volumes, at what they do (kills.ts).

import { expect, test } from "vitest";
import { long, runProgram } from "./run-program.ts";

/** Kills of each, spread over all that it does, from a random place on; 0: at every single one. */
const kills = long ? 0 : 5;
const offset = Math.floor(Math.random() * 2 ** 31);

test.each(["monitor", "send"])(
  `%s killed at ${long ? "all" : kills} of the things that it does`,
  async (command) => {
    const said = await runProgram("kills", command, String(kills), String(offset));
    expect(said.match(/^ok \d+$/gm)?.length).toBeGreaterThanOrEqual(long ? 20 : kills);
  },
);
