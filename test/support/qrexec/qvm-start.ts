// Stand-in for `qvm-start [--skip-if-running] VM`, for machines without Xen: it changes the word in the VM's state file.
// Does not model the time that a start takes, nor any other option.

import { machineAt } from "./machine.ts";

const [directory = "", ...args] = process.argv.slice(2);
const machine = machineAt(directory);
const vm = args.find((arg) => !arg.startsWith("-")) ?? "";
const state = machine.state(vm);

function fail(code: number, message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}

if (state === undefined)
  fail(2, `usage: qvm-start [options] VMNAME\nqvm-start: error: no such domain: '${vm}'`);
if (state === "running" && !args.includes("--skip-if-running")) fail(1, `domain ${vm} is already running`);
if (state === "halted") {
  const failure = machine.startFailure(vm);
  if (failure !== undefined) fail(1, failure);
  machine.setState(vm, "running");
}
