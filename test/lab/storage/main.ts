// In the guest: runs the storage cases, all or those whose name matches the argument. `hold POOL STATE` is another run of
// ours, which takes the metadata and is killed with it.

import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { runCases } from "../cases.ts";
import { makeGroup, makePool } from "../guest/lvm.ts";
import { lvmHarness } from "../guest/lvm-harness.ts";
import { pools, storageLabCases } from "./all-cases.ts";

const [what = "", pool = "", stateDirectory = ""] = process.argv.slice(2);
if (what === "hold") {
  await lvmHarness(pool)
    .storageOf({ stateDirectory })
    .withMetadata(async () => {
      writeSync(1, "held\n");
      await sleep(600_000);
    });
} else {
  makeGroup();
  for (const [name, chunkKiB] of Object.entries(pools)) makePool(name, { chunkKiB });
  await runCases(storageLabCases().filter(({ name }) => new RegExp(what).test(name)));
}
