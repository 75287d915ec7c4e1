// Runs the storage cases in the guest: the suite on an LVM pool, then what only LVM has.

import { writeSync } from "node:fs";
import { runCases } from "../cases.ts";
import { makeGroup, makePool } from "../guest/lvm.ts";
import { pools, storageLabCases } from "./all-cases.ts";

makeGroup();
for (const [pool, chunkKiB] of Object.entries(pools)) makePool(pool, { chunkKiB });
const only = process.argv[2];
const cases = storageLabCases().filter(({ name }) => only === undefined || name.includes(only));
process.exitCode = Math.min(await runCases(cases, (line) => void writeSync(1, `${line}\n`)), 1);
