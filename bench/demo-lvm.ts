// ./run demo --lvm: the main job on real LVM thin volumes, in a throw-away virtual machine.

import { projectRoot, runInGuest } from "../test/lab/lab.ts";

/** Runs the demo in a guest, with its output as it comes. Throws when it fails. */
export async function lvmDemo(): Promise<void> {
  process.env["SPARSEBAK_LAB_VERBOSE"] = "1";
  process.stdout.write("starting a guest with LVM thin provisioning (a first start downloads a kernel) …\n");
  const { exitCode } = await runInGuest({
    program: "bench/demo-lvm-guest.ts",
    disks: ["3G", "1G"],
    env: { LAB_PROJECT: projectRoot },
  });
  if (exitCode !== 0) throw new Error(`the guest's demo ended with ${exitCode}`);
}
