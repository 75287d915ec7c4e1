// The model test (test/support/model) on real thin volumes: the same steps, kills and comparisons as on image files, with
// commands that run in a guest and are slow there.

import { testModel } from "../../support/model/model-test.ts";
import { long } from "./run-program.ts";
import { makeThinWorld } from "./thin-world.ts";

testModel({
  title: "random steps on thin volumes",
  makeWorld: makeThinWorld,
  // Of the two kinds of archive one each.
  seeds: [20_261_232, 20_261_233],
  steps: long ? 100 : 4,
});
