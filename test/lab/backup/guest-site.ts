// An installation inside the guest: a volume group named as Qubes names it, a mounted drive, the settings, and the
// built programs. Everything runs as on a real dom0 with a drive of its own (destvm = none).

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  fsyncSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const vg = "qubes_dom0";
const dist = new URL("../../../dist/", `file://${process.env["LAB_PROJECT"] ?? ""}/test/lab/backup/`)
  .pathname;
const killer = `${process.env["LAB_PROJECT"] ?? ""}/test/support/kill-at.mjs`;

export const mib: number = 1024 * 1024;

export interface Ran {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command; its output is only shown when it fails. Throws then. */
export function must(command: string, ...args: readonly string[]): string {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 64 * mib });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.status}: ${done.stderr}`);
  return done.stdout;
}

export function device(name: string): string {
  return `/dev/${vg}/${name}`;
}

export interface GuestSite {
  readonly ini: string;
  readonly state: string;
  readonly drive: string;
  readonly archive: string;
  sparsebak(...args: readonly string[]): Ran;
  /** Kills it right before the `at`-th thing that it does, or the first one whose text fits. */
  killed(at: number | RegExp, ...args: readonly string[]): Ran;
  /** Cuts the guest's power right before the `at`-th thing that it does: does not come back then. */
  powerCut(at: number, ...args: readonly string[]): Ran;
  /** Starts it; it stops by itself, and waits for SIGCONT, right before the first thing that it does whose text fits. */
  heldAt(what: RegExp, ...args: readonly string[]): ChildProcess;
  /** Runs it and gives how many things it did to the outside. */
  counted(...args: readonly string[]): number;
  /** SHA-256 of the image that spbk-assemble makes of a session, of `directory` on the drive if it is not the usual
   *  one. Throws when it fails. */
  assembled(volume: string, session?: string, directory?: string): string;
  /** What the archive lists; what interrupted sends have left is no session. */
  sessions(volume: string): readonly string[];
}

export interface GuestSiteOptions {
  readonly volumes: readonly string[];
  readonly poolChunk?: string;
  readonly poolSize?: string;
  readonly archives?: readonly string[];
  readonly settings?: readonly string[];
}

const drive = "/mnt/volume";
const state = "/sparsebak";

/** The volume group and pool, the drive, and the settings. With a third disk, dom0's state is kept on that. */
export function makeGuestSite(options: GuestSiteOptions): GuestSite {
  const disk = process.env["VM_DISK"] ?? "/nonexistent";
  if (process.env["VM_RUN"] !== "1") throw new Error("only inside the lab's guest");
  // A throw-away group needs no text copies of its metadata; without them commands take half as long.
  appendFileSync("/etc/lvm/lvmlocal.conf", "backup { backup=0 archive=0 }\n");
  must("vgcreate", vg, disk);
  must(
    "lvcreate",
    "-L",
    options.poolSize ?? "1536M",
    "-T",
    `${vg}/vm-pool`,
    "-c",
    options.poolChunk ?? "64k",
  );
  for (const each of ["/dev/vdb", "/dev/vdc"]) if (existsSync(each)) must("mkfs.ext4", "-q", "-F", each);
  mountAll();
  const site = guestSite();
  writeSettings(options);
  return site;
}

/** What an earlier boot of the guest has made on the same disks. */
export function reopenGuestSite(): GuestSite {
  if (process.env["VM_RUN"] !== "1") throw new Error("only inside the lab's guest");
  must("vgchange", "-ay", vg);
  mountAll();
  return guestSite();
}

function mountAll(): void {
  for (const each of [drive, state]) mkdirSync(each, { recursive: true });
  must("mount", "/dev/vdb", drive);
  if (existsSync("/dev/vdc")) must("mount", "/dev/vdc", state);
}

/** Writes sparsebak.ini. */
export function writeSettings(options: Omit<GuestSiteOptions, "poolChunk" | "poolSize">): void {
  const more = (options.archives ?? []).map(
    (name) => `[archive ${name}]\ndestvm = none\ndestmountpoint = ${drive}\ndestdir = ${name}\n`,
  );
  writeFileSync(
    join(state, "sparsebak.ini"),
    [
      "[var]",
      `vgname = ${vg}`,
      "poolname = vm-pool",
      "destvm = none",
      `destmountpoint = ${drive}`,
      "destdir = backups",
      "encryption = off",
      ...(options.settings ?? []),
      "[volumes]",
      ...options.volumes.map((volume) => `${volume} = enable`),
      ...more,
      "",
    ].join("\n"),
  );
}

function guestSite(): GuestSite {
  const ini = join(state, "sparsebak.ini");
  const archive = join(drive, "backups");
  const environment = (): Record<string, string> => ({
    PATH: process.env["PATH"] ?? "",
    HOME: "/root",
    DM_DISABLE_UDEV: process.env["DM_DISABLE_UDEV"] ?? "",
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? "",
    SPARSEBAK_TOOL_PATH: process.env["SPARSEBAK_TOOL_PATH"] ?? process.env["PATH"] ?? "",
  });
  const run = (
    program: string,
    args: readonly string[],
    env: Record<string, string> = {},
    preload: readonly string[] = [],
  ): Ran => {
    const done = spawnSync(process.execPath, [...preload, join(dist, "lib", program), ...args], {
      encoding: "utf8",
      env: { ...environment(), ...env },
    });
    return { code: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
  };
  return {
    ini,
    state,
    drive,
    archive,
    sparsebak: (...args) => run("sparsebak.mjs", args),
    killed: (at, ...args) => {
      const env = typeof at === "number" ? { KILL_AT: String(at) } : { KILL_AT: "1", KILL_FROM: at.source };
      return run("sparsebak.mjs", args, env, ["--import", killer]);
    },
    powerCut: (at, ...args) =>
      run("sparsebak.mjs", args, { KILL_AT: String(at), KILL_POWER: "1", VM_RUN: "1" }, ["--import", killer]),
    heldAt: (what, ...args) =>
      spawn(process.execPath, ["--import", killer, join(dist, "lib", "sparsebak.mjs"), ...args], {
        stdio: ["ignore", "ignore", "inherit"],
        env: { ...environment(), KILL_AT: "1", KILL_FROM: what.source, KILL_SIGNAL: "SIGSTOP" },
      }),
    counted: (...args) => {
      const done = run("sparsebak.mjs", args, { KILL_COUNT: "/run/count" }, ["--import", killer]);
      if (done.code !== 0) throw new Error(`sparsebak ${args.join(" ")}: ${done.code}: ${done.stderr}`);
      return Number(readFileSync("/run/count", "utf8"));
    },
    assembled: (volume, session, directory = "backups") => {
      const output = "/tmp/assembled.img";
      const choice = session === undefined ? [] : ["--session", session];
      const done = run("spbk-assemble.mjs", [
        join(drive, directory, volume),
        "-o",
        output,
        "--force",
        "-q",
        ...choice,
      ]);
      if (done.code !== 0)
        throw new Error(`spbk-assemble ${volume} ${session ?? ""}: ${done.code}: ${done.stderr}`);
      const digest = sha256(output);
      rmSync(output);
      return digest;
    },
    sessions: (volume) => {
      if (!existsSync(join(archive, "heads"))) return [];
      const done = run("sparsebak.mjs", ["--json", "list", volume]);
      if (done.code !== 0 && /has no volume/.test(done.stderr)) return [];
      if (done.code !== 0) throw new Error(`list: ${done.code}: ${done.stderr}`);
      const lines = done.stdout.split("\n").filter((line) => line.includes('"type":"session"'));
      return lines.map((line) => (JSON.parse(line) as { name: string }).name).sort();
    },
  };
}

export function sha256(path: string): string {
  return must("sha256sum", path).slice(0, 64);
}

/** Repeatable random numbers, good enough to choose what a test does. */
export function randomOf(seed: number): (below: number) => number {
  let drawn = seed >>> 0 || 1;
  return (below) => {
    drawn ^= drawn << 13;
    drawn >>>= 0;
    drawn ^= drawn >>> 17;
    drawn ^= drawn << 5;
    drawn >>>= 0;
    return drawn % below;
  };
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

/** Resolves once a process that `heldAt` has started stands still. Throws when it ends before that. */
export async function untilStopped(held: ChildProcess): Promise<void> {
  const isStopped = (): boolean => /^State:\s+T/m.test(readFileSync(`/proc/${held.pid ?? 0}/status`, "utf8"));
  for (let i = 0; i < 3000; i++) {
    if (held.exitCode !== null) throw new Error(`it has ended, with ${held.exitCode}, and was not held`);
    if (isStopped()) return;
    await sleep(100);
  }
  throw new Error("it was not held");
}

/** Nothing of ours is left but one `.tick` for each volume that was sent, and the metadata is free. */
export function checkNothingLeft(site: GuestSite): void {
  const snapshots = must("lvs", "--noheadings", "-o", "lv_name", "@sparsebak")
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  const stray = snapshots.filter((name) => !name.endsWith(".tick"));
  if (stray.length > 0) throw new Error(`snapshots left: ${stray.join(" ")}`);
  const held = must("dmsetup", "status", "qubes_dom0-vm--pool-tpool").trim().split(/\s+/)[6];
  if (held !== "-") throw new Error(`the metadata snapshot is held: ${held}`);
  const files = must("find", site.drive, "(", "-name", "*.part", "-o", "-name", ".tmp-*", ")").trim();
  if (files !== "") throw new Error(`unfinished files left: ${files}`);
  const own = must(
    "find",
    site.state,
    "(",
    "-name",
    "pending",
    "-o",
    "-name",
    "sending",
    "-o",
    "-name",
    "intent",
    "-o",
    "-name",
    "journal-*",
    "-o",
    "-name",
    "fresh",
    "-o",
    "-name",
    "reservation",
    "-o",
    "-name",
    "*.new",
    ")",
  ).trim();
  if (own !== "") throw new Error(`state left: ${own}`);
}

export function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** A line for the test that started the guest. */
export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
