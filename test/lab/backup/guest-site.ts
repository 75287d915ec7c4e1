// An installation inside the guest: a volume group named as Qubes names it, a mounted drive, the settings, and the
// built programs. Everything runs as on a real dom0 with a drive of its own (destvm = none).

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { check, linesOf, must, type Ran, sha256 } from "./guest-program.ts";
import { makeVolume, ourSnapshots, vg } from "./guest-volumes.ts";

const dist = new URL("../../../dist/", `file://${process.env["LAB_PROJECT"] ?? ""}/test/lab/backup/`)
  .pathname;
const killer = `${process.env["LAB_PROJECT"] ?? ""}/test/support/kill-at.mjs`;

export interface GuestSite {
  readonly ini: string;
  readonly state: string;
  readonly drive: string;
  readonly archive: string;
  sparsebak(...args: readonly string[]): Ran;
  /** The same, where it has to succeed. */
  good(...args: readonly string[]): Ran;
  /** Kills it right before the `at`-th thing that it does, or the first one whose text fits. */
  killed(at: number | RegExp, ...args: readonly string[]): Ran;
  /** Cuts the guest's power right before the `at`-th thing that it does, or the one that comes after the first one whose
   *  text fits: does not come back then. */
  powerCut(at: number | { readonly after: RegExp }, ...args: readonly string[]): Ran;
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
  /** Of each of them, as lvcreate takes it. */
  readonly volumeSize: string;
  readonly poolChunk?: string;
  readonly poolSize?: string;
  readonly archives?: readonly string[];
  readonly settings?: readonly string[];
}

const drive = "/mnt/volume";
const state = "/sparsebak";

/** The volume group, pool and volumes, the drive, and the settings. With a third disk, dom0's state is kept on that. */
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
  for (const each of options.volumes) makeVolume(each, options.volumeSize);
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
export function writeSettings(
  options: Omit<GuestSiteOptions, "volumeSize" | "poolChunk" | "poolSize">,
): void {
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
  const sparsebak = (...args: readonly string[]): Ran => run("sparsebak.mjs", args);
  return {
    ini,
    state,
    drive,
    archive,
    sparsebak,
    good: (...args) => {
      const ran = sparsebak(...args);
      check(ran.code === 0, `${args.join(" ")}: ${ran.code}\n${ran.stdout}\n${ran.stderr}`);
      return ran;
    },
    killed: (at, ...args) => {
      const env = typeof at === "number" ? { KILL_AT: String(at) } : { KILL_AT: "1", KILL_FROM: at.source };
      return run("sparsebak.mjs", args, env, ["--import", killer]);
    },
    powerCut: (at, ...args) => {
      const where =
        typeof at === "number" ? { KILL_AT: String(at) } : { KILL_AT: "2", KILL_FROM: at.after.source };
      return run("sparsebak.mjs", args, { ...where, KILL_POWER: "1", VM_RUN: "1" }, ["--import", killer]);
    },
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
      const done = sparsebak("--json", "list", volume);
      if (done.code !== 0 && /has no volume/.test(done.stderr)) return [];
      if (done.code !== 0) throw new Error(`list: ${done.code}: ${done.stderr}`);
      const found = linesOf(done).filter((line) => line["type"] === "session");
      return found.map((line) => String(line["name"])).sort();
    },
  };
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
  const stray = ourSnapshots().filter((name) => !name.endsWith(".tick"));
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
