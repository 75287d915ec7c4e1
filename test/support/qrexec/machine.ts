// The machine that the qrexec stand-ins act out: a directory that says which VMs there are, whether they run, and what
// is installed in each. A stand-in for Xen, which development machines don't have.
//
//   MACHINE/dom0/etc/qubes/policy.d/           dom0's policy
//   MACHINE/vms/NAME/state                     `running` or `halted`
//   MACHINE/vms/NAME/start                     if it is there: what qvm-start prints when it fails to start this VM
//   MACHINE/vms/NAME/root/                     its file system: etc/qubes-rpc, usr/local/etc/qubes-rpc, home/user, …
//   MACHINE/calls/PID.json                     one for each call, by the process that acts as the agent

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type VmState = "running" | "halted";

/** What the agent's side writes down about a call. */
export interface CallRecord {
  /** The process that acts as daemon and agent; it leads a process group that holds the service. */
  readonly agent: number;
  /** The client, which the test may kill. */
  readonly client: number;
  readonly target: string;
  readonly source: string;
  readonly service: string;
  /** The service's shell or, once that has become it, the service. Undefined when it was not started. */
  readonly pid: number | undefined;
  /** The user as which a real machine would run it. */
  readonly user: string;
}

export interface Machine {
  /** Directory of a VM's file system; dom0's own for `dom0`. */
  root(vm: string): string;
  state(vm: string): VmState | undefined;
  setState(vm: string, state: VmState): void;
  /** What qvm-start fails with; undefined when the VM starts. */
  startFailure(vm: string): string | undefined;
  record(call: CallRecord): void;
  calls(): CallRecord[];
}

export function machineAt(directory: string): Machine {
  const vm = (name: string, ...below: string[]): string => join(directory, "vms", name, ...below);
  const read = (path: string): string | undefined =>
    existsSync(path) ? readFileSync(path, "utf8") : undefined;
  const calls = join(directory, "calls");
  return {
    root: (name) => (name === "dom0" ? join(directory, "dom0") : vm(name, "root")),
    state: (name) => read(vm(name, "state")) as VmState | undefined,
    setState: (name, state) => {
      mkdirSync(vm(name, "root", "home", "user"), { recursive: true });
      writeFileSync(vm(name, "state"), state);
    },
    startFailure: (name) => read(vm(name, "start")),
    record: (call) => {
      mkdirSync(calls, { recursive: true });
      const path = join(calls, `${call.agent}.json`);
      writeFileSync(`${path}.new`, JSON.stringify(call));
      renameSync(`${path}.new`, path);
    },
    calls: () =>
      (existsSync(calls) ? readdirSync(calls) : [])
        .filter((name) => name.endsWith(".json"))
        .map((name) => JSON.parse(readFileSync(join(calls, name), "utf8")) as CallRecord),
  };
}
