// An installation whose receiver can be made to lie: image files, settings, dom0's state, an archive in a plain directory,
// and the built programs, with a receiver that is the real one or the hostile one (receiver.ts). It is made once and
// copied for every lie.

import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { changeImage, makeImage } from "../../../bench/image.ts";
import { sha256Of } from "../site.ts";
import type { Plan } from "./receiver.ts";
import { imageBytes, otherDirectory } from "./stage.ts";

const dist = fileURLToPath(new URL("../../../dist/lib/", import.meta.url));
const hostileReceiver = fileURLToPath(new URL("./receiver.ts", import.meta.url));
const kib = 1024;
/** Milliseconds in which every command has to end, whatever the receiver does: many times what one takes. */
const endsWithin = 120_000;
/** Seconds that the agent waits where the receiver is not to stall: long enough for a busy machine. */
const patience = 60;

export const volume = "work.img";

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The most memory that the agent has had, in bytes. */
  readonly peakBytes: number;
}

export interface HostileSite extends Disposable {
  readonly directory: string;
  readonly archive: string;
  readonly state: string;
  /** SHA-256 of the volume as of each session, oldest first. */
  readonly sessions: Map<string, string>;
  /** How long the agent waits for a receiver that does not get on. */
  stallAfter(seconds: number): void;
  /** A file that holds a passphrase. */
  readonly passphraseFile: string;
  /** Runs a command with a receiver that lies, or with the real one. */
  run(args: readonly string[], lie?: string): Promise<Ended>;
  /** Runs a command with the real receiver, which has to succeed. Gives its stdout. */
  must(...args: readonly string[]): Promise<string>;
  /** Sends with the real receiver, and notes the session. Gives what the command printed to stderr. */
  send(...args: readonly string[]): Promise<string>;
  /** The archive should have a session of that name, of the volume as it is now. */
  note(session: string): void;
  /** The newest of `sessions` is the volume as it is now. */
  isSent(): boolean;
  /** Takes away what dom0 keeps of each volume's last session, and what it can make again from the archive. */
  forget(): void;
  /** Writes to the volume. */
  change(seed: number): void;
  /** Every session that the archive should have, and no other, assembled and compared. Gives what is wrong. */
  differing(): Promise<readonly string[]>;
  /** Puts another installation's archive beside this one's. */
  keepBeside(other: HostileSite): void;
  copy(): HostileSite;
}

/** Makes an empty one: nothing was ever sent. */
export function hostileSite(encryption: "on" | "off"): HostileSite {
  const directory = mkdtempSync(join(tmpdir(), "sparsebak-hostile-"));
  for (const name of ["images", "drive", "dom0"]) mkdirSync(join(directory, name));
  cpSync(dist, join(directory, "lib"), { recursive: true });
  cpSync(join(dist, "receiver.mjs"), join(directory, "lib", "honest.mjs"));
  const outfile = join(directory, "lib", "hostile.mjs");
  buildSync({ entryPoints: [hostileReceiver], outfile, bundle: true, platform: "node", format: "esm" });
  writeFileSync(join(directory, "lib", "peak.mjs"), peakProgram);
  makeImage(join(directory, "images", volume), { size: imageBytes, dataBytes: 900 * kib, seed: 5 });
  writeFileSync(join(directory, "passphrase"), "correct horse battery staple\n", { mode: 0o600 });
  return siteIn(directory, encryption, new Map());
}

function siteIn(directory: string, encryption: string, sessions: Map<string, string>): HostileSite {
  const lib = join(directory, "lib");
  const drive = join(directory, "drive");
  const state = join(directory, "dom0");
  const ini = join(state, "sparsebak.ini");
  const image = join(directory, "images", volume);
  const archive = join(drive, "backups");
  writeFileSync(join(directory, "receiver.ini"), `[receiver]\nplain-directories = ${drive}\n`);
  const stallAfter = (seconds: number): void => {
    const lines = [
      "[var]",
      `localpath = ${join(directory, "images")}`,
      "destvm = none",
      `destmountpoint = ${drive}`,
      "destdir = backups",
      `encryption = ${encryption}`,
      "chunk-size = 64K",
      `stall-seconds = ${seconds}`,
      `receiver-settings = ${join(directory, "receiver.ini")}`,
      "[volumes]",
      `${volume} = enable`,
    ];
    writeFileSync(ini, `${lines.join("\n")}\n`);
  };
  stallAfter(patience);

  const site: HostileSite = {
    directory,
    archive,
    state,
    sessions,
    stallAfter,
    run: async (args, lie) => {
      const start = lie === undefined ? "./honest.mjs" : "./hostile.mjs";
      if (lie !== undefined) {
        const plan: Plan = { lie, archive, receiver: join(lib, "honest.mjs") };
        writeFileSync(join(lib, "plan.json"), JSON.stringify(plan));
      }
      writeFileSync(join(lib, "receiver.mjs"), `await import(${JSON.stringify(start)});\n`);
      return runProgram(lib, ["sparsebak.mjs", "-c", ini, "-u", ...args]);
    },
    passphraseFile: join(directory, "passphrase"),
    must: async (...args) => {
      const ended = await site.run(args);
      if (ended.code !== 0) throw new Error(`${args.join(" ")}: exit status ${ended.code}: ${ended.stderr}`);
      return ended.stdout;
    },
    send: async (...args) => {
      const ended = await site.run(["--json", "send", ...args]);
      if (ended.code !== 0) throw new Error(`send: exit status ${ended.code}: ${ended.stderr}`);
      const session = /"session":"(S_[\d-]+)"/.exec(ended.stdout)?.[1];
      if (session !== undefined) site.note(session);
      return ended.stderr;
    },
    note: (session) => sessions.set(session, sha256Of(image)),
    isSent: () => [...sessions.values()].at(-1) === sha256Of(image),
    forget: () => {
      const volumes = join(state, "archives", "default", "volumes");
      for (const each of readdirSync(volumes)) rmSync(join(volumes, each), { recursive: true });
    },
    change: (seed) => changeImage(image, 150 * kib, seed, imageBytes),
    differing: async () => {
      const [output, keyFile] = [join(directory, "assembled.img"), join(directory, "read-key")];
      const from = encryption === "on" ? [archive, "--key", keyFile] : [join(archive, volume)];
      if (encryption === "on") writeFileSync(keyFile, await site.must("key", "--export", volume));
      const listed = await runProgram(lib, ["spbk-assemble.mjs", ...from, "--list", "--json"]);
      const there = [...listed.stdout.matchAll(/"session":"(S_[\d-]+)"/g)].map(([, session]) => session);
      const differing: string[] = [];
      if (there.join() !== [...sessions.keys()].join()) differing.push(`${there.join()}: ${listed.stderr}`);
      for (const [session, digest] of sessions) {
        const args = [...from, "--session", session, "-o", output, "--force", "-q"];
        const ended = await runProgram(lib, ["spbk-assemble.mjs", ...args]);
        if (ended.code !== 0 || sha256Of(output) !== digest) differing.push(`${session}: ${ended.stderr}`);
      }
      for (const each of [output, keyFile]) rmSync(each, { force: true });
      return differing;
    },
    keepBeside: (other) => cpSync(other.archive, join(drive, otherDirectory), { recursive: true }),
    copy: () => {
      const target = mkdtempSync(join(tmpdir(), "sparsebak-hostile-"));
      spawnSync("cp", ["-a", "--reflink=auto", `${directory}/.`, target]);
      return siteIn(target, encryption, new Map(sessions));
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
  return site;
}

/** Tells, at the end of a process, the most memory that it has had. */
const peakProgram = `
import { writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
const write = () => writeFileSync(process.env.PEAK_FILE, String(process.resourceUsage().maxRSS * 1024));
if (isMainThread) process.on("exit", write);
`;

async function runProgram(lib: string, [program = "", ...args]: readonly string[]): Promise<Ended> {
  const peakFile = join(lib, "..", "peak");
  const child = spawn(process.execPath, ["--import", join(lib, "peak.mjs"), join(lib, program), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "", HOME: lib, PEAK_FILE: peakFile },
  });
  const late = setTimeout(() => child.kill("SIGKILL"), endsWithin);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  clearTimeout(late);
  const peakBytes = code === null ? Number.NaN : Number(readFileSync(peakFile, "utf8"));
  rmSync(peakFile, { force: true });
  return { code, stdout, stderr, peakBytes };
}

/** Every file below a directory, with what it holds. */
export function contentsOf(path: string): Record<string, string> {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return Object.fromEntries(
    files.map((each) => {
      const file = join(each.parentPath, each.name);
      return [file.slice(path.length + 1), sha256Of(file)];
    }),
  );
}

/** Processes that have something to do with the site and are still there. */
export function processesOf(site: HostileSite): string {
  return spawnSync("pgrep", ["-a", "-f", site.directory], { encoding: "utf8" }).stdout;
}
