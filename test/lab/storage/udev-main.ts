// In a guest with udevd: runs the cases about what udev does with our snapshots.

import { runCases } from "../cases.ts";
import { udevCases } from "./udev-cases.ts";

await runCases(udevCases());
