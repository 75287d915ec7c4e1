// Archives through a life by chance (test/support/model): image files of two hosts that change, and commands on two
// destinations, which are killed in half of the cases. After every step every session of every archive restores to
// exactly what the image was; in the end nothing lies there that no session names, and no nonce has come twice.

import { makeFileWorld } from "../support/model/file-world.ts";
import { deckSize } from "../support/model/deck.ts";
import { testModel } from "../support/model/model-test.ts";

testModel({
  title: "random steps",
  makeWorld: makeFileWorld,
  // Of the two kinds of archive one each.
  seeds: [20_261_232, 20_261_233],
  steps: deckSize,
});
