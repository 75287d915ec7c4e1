// Stand-in for `qvm-check [--running|--halted] [-q] VM`, for machines without Xen: exit status 0 where the VM exists (and
// is in that state), 1 otherwise, as its manual page says. Other options are not modelled.

import { machineAt } from "./machine.ts";

const [directory = "", ...args] = process.argv.slice(2);
const vm = args.find((arg) => !arg.startsWith("-")) ?? "";
const state = machineAt(directory).state(vm);
const wanted = args.includes("--running") ? "running" : args.includes("--halted") ? "halted" : state;
process.exitCode = state !== undefined && state === wanted ? 0 : 1;
