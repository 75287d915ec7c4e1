// A Qubes machine in a temporary directory, for tests: programs named like Qubes' own, which act out its VMs. Put
// `dom0Path` into SPARSEBAK_TOOL_PATH, and the agent finds them.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CallRecord, type Machine, machineAt, type VmState } from "./machine.ts";

export interface QrexecLabOptions {
  /** VMs by name. */
  readonly vms: Readonly<Record<string, VmState>>;
  /** Files of dom0's policy directory by name. */
  readonly policy?: Readonly<Record<string, string>>;
}

export interface QrexecLab extends AsyncDisposable {
  readonly machine: Machine;
  /** Everything is in here; the command lines of all stand-ins and services hold it. */
  readonly directory: string;
  /** Where dom0's stand-ins are, followed by the system's own directories. */
  readonly dom0Path: string;
  /** The `qrexec-client-vm` of a VM. */
  clientOf(vm: string): string;
  /** Writes an executable into a VM as a service; by default where a template's are. */
  service(vm: string, name: string, text: string, directory?: string): void;
  /** Writes a file into a VM (or `dom0`) by its absolute path there. */
  file(vm: string, path: string, text: string, mode?: number): void;
  /** What the VM's login shell prints before anything else. */
  profile(vm: string, shellText: string): void;
  /** The calls so far. */
  calls(): CallRecord[];
}

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function qrexecLab(options: QrexecLabOptions): QrexecLab {
  const directory = mkdtempSync(join(tmpdir(), "qrexec-lab-"));
  const machine = machineAt(directory);
  const bin = join(directory, "dom0", "bin");
  for (const name of ["qrexec-client", "qvm-start", "qvm-check", "ssh"])
    wrapper(join(bin, name), name, [directory]);
  for (const [vm, state] of Object.entries(options.vms)) {
    machine.setState(vm, state);
    wrapper(join(machine.root(vm), "bin", "qrexec-client-vm"), "qrexec-client-vm", [directory, vm]);
  }
  const file: QrexecLab["file"] = (vm, path, text, mode = 0o644) => {
    const full = join(machine.root(vm), path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    chmodSync(full, mode);
  };
  for (const [name, text] of Object.entries(options.policy ?? {}))
    file("dom0", `/etc/qubes/policy.d/${name}`, text);

  return {
    machine,
    directory,
    dom0Path: `${bin}:${systemPath}`,
    clientOf: (vm) => join(machine.root(vm), "bin", "qrexec-client-vm"),
    service: (vm, name, text, where = "/etc/qubes-rpc") => file(vm, join(where, name), text, 0o755),
    file,
    profile: (vm, shellText) => file(vm, "/home/user/.profile", shellText),
    calls: () => machine.calls(),
    [Symbol.asyncDispose]: async () => {
      for (const { agent } of machine.calls()) killOurs(agent, directory);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A script that runs one of the stand-ins, with stdin, stdout and stderr on 3, 4 and 5 as well (see call.ts). */
function wrapper(path: string, name: string, args: readonly string[]): void {
  const program = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  const quoted = [process.execPath, program, ...args].map((each) => `'${each}'`).join(" ");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\nexec ${quoted} "$@" 3<&0 4>&1 5>&2 </dev/null >/dev/null\n`, {
    mode: 0o755,
  });
}

/** Kills the group of a call that is still going on; a number that is somebody else's by now is left alone. */
function killOurs(pid: number, directory: string): void {
  try {
    if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory)) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
