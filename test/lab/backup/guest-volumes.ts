// The guest's thin volumes, and what Qubes and VMs do to them.

import { spawnSync } from "node:child_process";
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { must } from "./guest-program.ts";

export const vg = "qubes_dom0";

/** Makes a thin volume; `size` as lvcreate takes it. */
export function makeVolume(name: string, size: string): void {
  must("lvcreate", "-V", size, "-T", `${vg}/vm-pool`, "-n", name);
}

export function device(name: string): string {
  return `/dev/${vg}/${name}`;
}

let filled = 0;

/** Writes `length` bytes that were never written before, synced on the device: a thin LV forgets others when the
 *  machine dies. */
export function write(name: string, offset: number, length: number): void {
  const block = Buffer.alloc(length);
  for (let at = 0; at + 8 <= length; at += 512) block.writeUInt32LE(++filled, at);
  const fd = openSync(device(name), "r+");
  writeSync(fd, block, 0, length, offset);
  fsyncSync(fd);
  closeSync(fd);
}

export function sizeOf(name: string): number {
  return Number(must("blockdev", "--getsize64", device(name)).trim());
}

export function exists(name: string): boolean {
  return spawnSync("lvs", [`${vg}/${name}`], { stdio: "ignore" }).status === 0;
}

/** What Qubes does when a VM starts: its own working copy, which it holds open (facts of Qubes). */
export function startVm(volume: string): number {
  if (!exists(`${volume}-snap`))
    must("lvcreate", "-kn", "-ay", "-s", `${vg}/${volume}`, "-n", `${volume}-snap`);
  return openSync(device(`${volume}-snap`), "r");
}

/** What it does when the VM stops: the old state is put aside, the working copy takes its place. Gives the name under
 *  which the old state is kept as a revision. */
export function putAside(volume: string, held: number): string {
  closeSync(held);
  const back = `${volume}-${Date.now()}-back`;
  must("lvrename", `${vg}/${volume}`, `${vg}/${back}`);
  must("lvrename", `${vg}/${volume}-snap`, `${vg}/${volume}`);
  return back;
}

/** The same, where no revisions are kept. */
export function stopVm(volume: string, held: number): void {
  must("lvremove", "-f", `${vg}/${putAside(volume, held)}`);
}

/** Names of the snapshots that sparsebak has made. */
export function ourSnapshots(): readonly string[] {
  return must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak")
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}
