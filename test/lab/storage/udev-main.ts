// In a guest with udevd: runs the cases about what udev does with our snapshots.

import { writeSync } from "node:fs";
import { runCases } from "../cases.ts";
import { udevCases } from "./udev-cases.ts";

process.exitCode = Math.min(await runCases(udevCases(), (line) => void writeSync(1, `${line}\n`)), 1);
