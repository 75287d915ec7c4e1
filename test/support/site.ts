// A whole installation in a temporary directory: image files, settings, a backup VM behind the qrexec stand-ins, a
// drive that is really mounted there, and the built programs. What the end-to-end tests work on.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { qrexecLab, type QrexecLab } from "./qrexec/lab.ts";

/** The Node that the programs run on: that of development, unless SPARSEBAK_NODE names another. */
export const node: string = process.env["SPARSEBAK_NODE"] ?? process.execPath;
const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
const killer = fileURLToPath(new URL("./kill-at.mjs", import.meta.url));
const services = ["sparsebak.Send", "sparsebak.Receive", "sparsebak.Prune", "sparsebak.Assemble"] as const;

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Kill it right before the n-th thing that it does (kill-at.mjs). */
  readonly killAt?: number;
  /** Don't kill it there but stop it, until it gets a SIGCONT. */
  readonly stop?: boolean;
  /** Have it count those things into this file. */
  readonly countInto?: string;
  /** Regular expressions: the first of those things that counts, and the first that does not any more. */
  readonly counted?: Counted;
  readonly signal?: AbortSignal;
  readonly onStderr?: (text: string) => void;
  /** Hears of the process's id. */
  readonly onStart?: (pid: number) => void;
  /** Settings of another agent than the site's own. */
  readonly ini?: string;
}

export interface Counted {
  readonly from: string;
  readonly until: string;
}

export interface SiteOptions {
  readonly volumes: readonly string[];
  /** Bytes of the drive; an ext4 on a loop device unless `fs` says otherwise. */
  readonly driveBytes?: number;
  readonly mkfs?: readonly string[];
  readonly mountOptions?: readonly string[];
  /** More lines for [var]. */
  readonly settings?: readonly string[];
  /** The drive is mounted here, and the receiver a child of the agent: no VM in between. */
  readonly local?: boolean;
  /** The archive is sealed, and made with the passphrase in `site.passphraseFile`; or is yet to be made. */
  readonly sealed?: boolean | "later";
}

export interface Site extends AsyncDisposable {
  readonly directory: string;
  readonly images: string;
  /** Where the drive is mounted, and the archive on it. */
  readonly drive: string;
  readonly archive: string;
  readonly state: string;
  readonly ini: string;
  readonly lab: QrexecLab;
  /** Holds `site.passphrase`. */
  readonly passphraseFile: string;
  readonly passphrase: string;
  image(volume: string): string;
  sparsebak(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** The path of a built program. */
  program(name: string): string;
  /** From now on what the receiver logs goes into this file. */
  logReceiverTo(file: string): void;
  /** Makes the receiver's next runs die right before the n-th thing that they do; undefined: not any more. */
  killReceiverAt(n: number | undefined, countInto?: string, counted?: Counted): void;
  /** A volume's directory in the archive: dom0's record has it, whatever it is called there. */
  volumeDirectory(volume: string): string;
  /** The assembled image's SHA-256, by spbk-assemble, with the passphrase where the archive is sealed. Fails the test
   *  when it fails. */
  assembled(volume: string, session?: string): Promise<string>;
  spbkAssemble(args: readonly string[]): Promise<Ended>;
  mount(): void;
  unmount(): void;
}

export async function makeSite(options: SiteOptions): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), "sparsebak-site-"));
  const site = {
    directory,
    images: join(directory, "images"),
    drive: join(directory, "drive"),
    archive: join(directory, "drive", "backups"),
    state: join(directory, "dom0"),
    ini: join(directory, "dom0", "sparsebak.ini"),
    passphrase: "correct horse battery staple",
    passphraseFile: join(directory, "passphrase"),
  };
  const sealed = options.sealed !== undefined && options.sealed !== false;
  for (const each of [site.images, site.drive, site.state]) mkdirSync(each);
  const lab = qrexecLab({ vms: { backup: "running" } });
  const disk = join(directory, "disk");
  writeFileSync(disk, "");
  truncateSync(disk, options.driveBytes ?? 2 * 1024 ** 3);
  const mkfs = options.mkfs ?? ["mkfs.ext4", "-q", "-F"];
  must(mkfs[0] ?? "", [...mkfs.slice(1), disk]);
  const mount = (): void =>
    must("mount", ["-o", ["loop", ...(options.mountOptions ?? [])].join(), disk, site.drive]);
  const unmount = (): void => must("umount", [site.drive]);
  mount();
  writeFileSync(
    site.ini,
    [
      "[var]",
      `localpath = ${site.images}`,
      `destvm = ${options.local === true ? "none" : "backup"}`,
      `destmountpoint = ${site.drive}`,
      "destdir = backups",
      ...(sealed ? [] : ["encryption = off"]),
      ...(options.settings ?? []),
      "[volumes]",
      ...options.volumes.map((volume) => `${volume} = enable`),
      "",
    ].join("\n"),
  );
  let receiverLog = "";
  const killReceiverAt = (n: number | undefined, countInto?: string, counted?: Counted): void => {
    for (const service of services) {
      const preload = n === undefined && countInto === undefined ? "" : `--import ${killer}`;
      const env = [
        n === undefined ? "" : `KILL_AT=${n}`,
        countInto === undefined ? "" : `KILL_COUNT=${countInto}`,
        counted === undefined ? "" : `'KILL_FROM=${counted.from}' 'KILL_UNTIL=${counted.until}'`,
      ].join(" ");
      lab.service(
        "backup",
        service,
        `#!/bin/sh\nexec env ${env} ${node} --disable-sigusr1 ${preload} ${dist}lib/receiver.mjs ${service}${receiverLog}\n`,
      );
    }
  };
  writeFileSync(site.passphraseFile, `${site.passphrase}\n`, { mode: 0o600 });
  killReceiverAt(undefined);
  const run = async (program: string, args: readonly string[], given: RunOptions = {}): Promise<Ended> => {
    const preload = given.killAt === undefined && given.countInto === undefined ? [] : ["--import", killer];
    const env: Record<string, string> = {
      PATH: process.env["PATH"] ?? "",
      HOME: directory,
      SPARSEBAK_TOOL_PATH: lab.dom0Path,
    };
    if (given.killAt !== undefined) env["KILL_AT"] = String(given.killAt);
    if (given.stop === true) env["KILL_SIGNAL"] = "SIGSTOP";
    if (given.countInto !== undefined) env["KILL_COUNT"] = given.countInto;
    if (given.counted !== undefined)
      Object.assign(env, { KILL_FROM: given.counted.from, KILL_UNTIL: given.counted.until });
    const child = spawn(node, [...preload, join(dist, "lib", program), ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env,
      cwd: directory,
    });
    if (child.pid !== undefined) given.onStart?.(child.pid);
    given.signal?.addEventListener("abort", () => child.kill("SIGINT"), { once: true });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      given.onStderr?.(text);
    });
    return new Promise((resolve, reject) => {
      child.on("error", reject).on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    });
  };
  const volumeDirectory = (volume: string): string => {
    const [record = ""] = readFileSync(join(site.state, "archives", "default", "archive"), "utf8").split(
      "\n",
    );
    const { volumes } = JSON.parse(record) as { volumes: { name: string; directory: string }[] };
    return join(site.archive, volumes.find((each) => each.name === volume)?.directory ?? volume);
  };
  if (options.sealed === true) {
    const made = await run("sparsebak.mjs", [
      "-c",
      site.ini,
      "-u",
      "init",
      "--passphrase-file",
      site.passphraseFile,
    ]);
    if (made.code !== 0) throw new Error(`init: exit status ${made.code}: ${made.stderr}`);
  }
  return {
    ...site,
    lab,
    volumeDirectory,
    image: (volume) => join(site.images, volume),
    sparsebak: async (args, given) => run("sparsebak.mjs", ["-c", given?.ini ?? site.ini, ...args], given),
    killReceiverAt,
    program: (name) => join(dist, "lib", name),
    logReceiverTo: (file) => {
      receiverLog = ` 2>>${file}`;
      killReceiverAt(undefined);
    },
    spbkAssemble: async (args) => run("spbk-assemble.mjs", args),
    assembled: async (volume, session) => {
      const output = join(directory, "assembled.img");
      const choice = session === undefined ? [] : ["--session", session];
      const ended = await run("spbk-assemble.mjs", [
        volumeDirectory(volume),
        ...(sealed ? ["--passphrase-file", site.passphraseFile] : []),
        "-o",
        output,
        "--force",
        "-q",
        ...choice,
      ]);
      if (ended.code !== 0) throw new Error(`spbk-assemble: exit status ${ended.code}: ${ended.stderr}`);
      const digest = sha256Of(output);
      rmSync(output);
      return digest;
    },
    mount,
    unmount,
    [Symbol.asyncDispose]: async () => {
      await lab[Symbol.asyncDispose]();
      spawnSync("umount", ["-l", site.drive]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export function sha256Of(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** What an `ls` shows that should not be there in the end: anything of an unfinished session. */
export function leftovers(archive: string): readonly string[] {
  if (!existsSync(archive)) return [];
  const found = spawnSync("find", [archive, "(", "-name", "*.part", "-o", "-name", ".tmp-*", ")"], {
    encoding: "utf8",
  });
  return found.stdout.split("\n").filter(Boolean);
}

function must(command: string, args: readonly string[]): void {
  const done = spawnSync(command, args, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr}`);
}
