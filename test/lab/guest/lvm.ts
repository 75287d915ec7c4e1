// LVM by hand, for tests in the guest: what a user, Qubes or another program would do to the volumes. Only on the
// guest's scratch disk.

import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, closeSync, constants, fsyncSync, openSync, writeSync } from "node:fs";

/** Every function here begins with this: none may ever touch a real machine's volumes. */
function inGuestOnly(): void {
  if (process.env["VM_RUN"] !== "1") throw new Error("this runs in the lab's guest only");
}

/** The volume group on the scratch disk; its name has a dash, which the device mapper doubles. */
export const vg = "lab-vg";

/** Runs a program to its end and gives its stdout. Throws with its stderr when it failed. */
export function run(program: string, ...args: readonly string[]): string {
  inGuestOnly();
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs LVM commands, each a line of plain words, in one process. Throws when one of them failed. */
export function runLvm(...commands: readonly string[]): void {
  inGuestOnly();
  const input = commands.map((each) => `${each}\n`).join("");
  const done = spawnSync("lvm", { input, encoding: "utf8" });
  if (done.status !== 0) throw new Error(`lvm: ${done.stderr}`);
}

/** Makes the volume group on the guest's scratch disk. */
export function makeGroup(): void {
  const disk = process.env["VM_DISK"];
  if (disk === undefined) throw new Error("the guest has no scratch disk");
  // A throw-away group needs no text copies of its metadata; without them commands take half as long.
  appendFileSync("/etc/lvm/lvmlocal.conf", "backup { backup=0 archive=0 }\n");
  run("vgcreate", "-y", "--physicalextentsize", "1m", vg, disk);
}

export interface PoolShape {
  readonly chunkKiB: number;
  readonly sizeMiB?: number;
}

export function makePool(pool: string, { chunkKiB, sizeMiB = 256 }: PoolShape): void {
  const size = ["-L", `${sizeMiB}m`, "--poolmetadatasize", "4m", "--chunksize", `${chunkKiB}k`];
  run(
    "lvcreate",
    "-y",
    "-q",
    ...size,
    "-Zn",
    "--discards",
    "passdown",
    "--type",
    "thin-pool",
    "-n",
    pool,
    vg,
  );
}

/** A thin volume of `size` bytes. */
export function makeThin(pool: string, name: string, size: number): void {
  run(
    "lvcreate",
    "-y",
    "-q",
    "-kn",
    "-ay",
    "-Wn",
    "-V",
    `${size}b`,
    "--thinpool",
    `${vg}/${pool}`,
    "-n",
    name,
  );
}

/** A volume of `size` bytes that is not thin, and only read. */
export function makeThick(name: string, size: number): void {
  run("lvcreate", "-y", "-q", "-Wn", "-L", `${size}b`, "-n", name, vg);
  run("lvchange", "-an", `${vg}/${name}`);
  run("lvchange", "-pr", `${vg}/${name}`);
}

/** A thin volume that reads what it has not mapped from `origin`, outside of the pool. */
export function makeOnExternal(pool: string, name: string, origin: string): void {
  const thin = ["--thinpool", `${vg}/${pool}`, "-n", name];
  run("lvcreate", "-y", "-q", "-kn", "-ay", "-s", `${vg}/${origin}`, ...thin);
}

/** A writable thin snapshot, as Qubes makes for a VM that starts. */
export function makeThinSnapshot(origin: string, name: string, ...more: readonly string[]): void {
  run("lvcreate", "-y", "-q", "-kn", "-ay", "-s", `${vg}/${origin}`, "-n", name, ...more);
}

/** Removes volumes; without names, every volume of the group but the pools. */
export function removeVolumes(...names: readonly string[]): void {
  const which = names.length > 0 ? names.map((each) => `${vg}/${each}`) : ["-S", "segtype=thin", vg];
  run("lvremove", "-y", "-f", "-q", ...which);
}

export function rename(from: string, to: string): void {
  run("lvrename", vg, from, to);
}

/** Path of a volume's device. */
export function devicePath(name: string): string {
  return `/dev/${vg}/${name}`;
}

/** Name of a volume or layer in the device mapper. */
export function mapped(name: string): string {
  return `${vg.replaceAll("-", "--")}-${name.replaceAll("-", "--")}`;
}

/** Writes to the device and through to the pool, as a VM's disk driver does. */
export function writeVolume(name: string, offset: number, bytes: Uint8Array): void {
  inGuestOnly();
  const fd = openSync(devicePath(name), constants.O_WRONLY);
  try {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function discardVolume(name: string, offset: number, length: number): void {
  run("blkdiscard", "-o", String(offset), "-l", String(length), devicePath(name));
}

/** One field of lvs for one volume. */
export function lvField(name: string, field: string): string {
  return run("lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", field, `${vg}/${name}`).trim();
}

/** Names of all volumes in the group, the pools among them. */
export function lvNames(): readonly string[] {
  return run("lvs", "--noheadings", "-o", "lv_name", vg)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** The pool's held metadata block, `-` when there is none. */
export function heldRoot(pool: string): string {
  return (
    run("dmsetup", "status", `${mapped(pool)}-tpool`)
      .trim()
      .split(/\s+/)[6] ?? ""
  );
}

/** What another program does that reads a pool's metadata. */
export function poolMessage(pool: string, message: "reserve_metadata_snap" | "release_metadata_snap"): void {
  run("dmsetup", "message", `${mapped(pool)}-tpool`, "0", message);
}
