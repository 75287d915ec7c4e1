// ./run bench: time, processor time, peak memory and bytes of the main jobs, on data that is the same every time:
// 2 GB of mixed compressibility in a 10 GiB image, then 300 MB of scattered change. With --rivals the same for borg
// and restic (if they are installed), in the same run on the same files, and the ratios. Then what should not grow: an
// image of 1 TiB with little in it, and ten changed chunks; and how long the programs take to start.

import { spawn } from "node:child_process";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { changeImage, makeImage } from "./image.ts";
import { makeSite, table } from "./programs.ts";

const { values: options } = parseArgs({
  options: {
    rivals: { type: "boolean", default: false },
    /** Divides all sizes: 10 for a quick look. */
    scale: { type: "string", default: "1" },
    directory: { type: "string", default: tmpdir() },
  },
});
const scale = Number(options.scale);
const gib = 1024 ** 3;
const size = Math.floor((10 * gib) / scale / 65_536) * 65_536;
const dataBytes = Math.floor(2e9 / scale);
const changedBytes = Math.floor(300e6 / scale);
const volume = "vm-bench-private.img";
const bin = new URL("../dist/bin/", import.meta.url).pathname;

interface Measured {
  readonly seconds: number;
  /** User and system time of the command and all that it waited for. */
  readonly cpuSeconds: number;
  /** The largest single process, bytes. */
  readonly peakBytes: number;
}

/** Runs a command under time(1). Throws when it fails. */
async function measure(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Measured> {
  const report = join(directory, "time");
  const child = spawn("/usr/bin/time", ["-o", report, "-f", "%e %U %S %M", command, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, ...env },
  });
  let complaint = "";
  child.stderr.on("data", (bytes: Buffer) => (complaint = (complaint + bytes.toString()).slice(-2000)));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: exit status ${code}\n${complaint}`);
  const [seconds = 0, user = 0, system = 0, kilobytes = 0] = readFileSync(report, "utf8")
    .trim()
    .split(/\s+/)
    .map(Number);
  return { seconds, cpuSeconds: user + system, peakBytes: kilobytes * 1024 };
}

function diskUse(path: string): number {
  return Number(execFileSync("du", ["-s", "-B1", path], { encoding: "utf8" }).split("\t")[0]);
}

interface Row extends Measured {
  readonly what: string;
  readonly bytes: number;
}

async function ours(): Promise<Row[]> {
  const rows: Row[] = [];
  const step = async (
    what: string,
    program: string,
    args: readonly string[],
    bytes: () => number,
  ): Promise<void> => {
    rows.push({ what, ...(await measure(join(bin, program), args)), bytes: bytes() });
  };
  const archive = join(site.destination, "backups");
  const stored = (): number => diskUse(archive);
  await step("first send", "sparsebak", ["-c", site.ini, "-u", "-q", "send"], stored);
  changeImage(image, changedBytes, 2, size);
  await step("monitor", "sparsebak", ["-c", site.ini, "-u", "-q", "monitor"], () => 0);
  const before = stored();
  await step("second send", "sparsebak", ["-c", site.ini, "-u", "-q", "send"], () => stored() - before);
  const output = join(directory, "out.img");
  await step("assemble", "spbk-assemble", [join(archive, volume), "-o", output, "-q"], () => diskUse(output));
  execFileSync("cmp", [output, image]);
  rmSync(output);
  return rows;
}

/** A terabyte of holes with 50 MB in it; then ten changed chunks. */
async function huge(): Promise<Row[]> {
  const bytes = 1024 ** 4;
  const big = makeSite(join(directory, "huge"), [volume]);
  const path = join(big.images, volume);
  makeImage(path, { size: bytes, dataBytes: 50e6, seed: 3 });
  const archive = join(big.destination, "backups");
  const send = async (what: string): Promise<Row> => {
    const before = existsSync(archive) ? diskUse(archive) : 0;
    const measured = await measure(join(bin, "sparsebak"), ["-c", big.ini, "-u", "-q", "send"]);
    return { what, ...measured, bytes: diskUse(archive) - before };
  };
  const rows = [await send("first send")];
  const fd = openSync(path, "r+");
  for (let i = 0; i < 10; i++) writeSync(fd, `change ${i}`, Math.floor((bytes / 10) * i));
  closeSync(fd);
  rows.push(await send("ten chunks"));
  const status = await measure(join(bin, "sparsebak"), ["-c", big.ini, "status"]);
  return [...rows, { what: "status", ...status, bytes: 0 }];
}

/** Milliseconds until a program that does nothing has ended: the best of ten. */
async function startUp(program: string): Promise<number> {
  const seconds: number[] = [];
  for (let i = 0; i < 10; i++) {
    const start = performance.now();
    await measure(join(bin, program), ["--version"]);
    seconds.push(performance.now() - start);
  }
  return Math.min(...seconds);
}

/** What the rivals do with the same two states of the image. */
async function rival(name: "borg" | "restic"): Promise<Row[]> {
  const repository = join(directory, name);
  mkdirSync(repository);
  const env = {
    BORG_PASSPHRASE: "x",
    RESTIC_PASSWORD: "x",
    BORG_BASE_DIR: join(directory, "borg-home"),
    RESTIC_CACHE_DIR: join(directory, "restic-cache"),
  };
  const create = (label: string): readonly string[] =>
    name === "borg"
      ? [
          "create",
          "--compression",
          "zstd,3",
          "--chunker-params",
          "fixed,1048576",
          `${repository}::${label}`,
          image,
        ]
      : ["-r", repository, "backup", image];
  await measure(
    name,
    name === "borg" ? ["init", "-e", "repokey-blake2", repository] : ["-r", repository, "init"],
    env,
  );
  makeImage(image, { size, dataBytes, seed: 1 });
  const rows: Row[] = [
    { what: "first send", ...(await measure(name, create("one"), env)), bytes: diskUse(repository) },
  ];
  changeImage(image, changedBytes, 2, size);
  const before = diskUse(repository);
  rows.push({
    what: "second send",
    ...(await measure(name, create("two"), env)),
    bytes: diskUse(repository) - before,
  });
  const target = join(directory, `${name}-out`);
  mkdirSync(target);
  const restore =
    name === "borg"
      ? ["-c", `cd ${target} && borg extract --sparse ${repository}::two`]
      : ["-c", `restic -r ${repository} restore latest --target ${target}`];
  rows.push({ what: "assemble", ...(await measure("sh", restore, env)), bytes: diskUse(target) });
  rmSync(target, { recursive: true });
  return rows;
}

function show(title: string, rows: readonly Row[], compared: readonly Row[] = []): void {
  const head = [
    title,
    "seconds",
    "cpu s",
    "peak MB",
    "MB",
    ...(compared.length > 0 ? ["ours is × of its time"] : []),
  ];
  const cells = rows.map((row) => {
    const same = compared.find((each) => each.what === row.what);
    const figures = [
      row.seconds.toFixed(1),
      row.cpuSeconds.toFixed(1),
      (row.peakBytes / 1e6).toFixed(0),
      (row.bytes / 1e6).toFixed(0),
    ];
    return [row.what, ...figures, ...(same === undefined ? [] : [(same.seconds / row.seconds).toFixed(2)])];
  });
  process.stdout.write(`\n${table([head, ...cells])}\n`);
}

const directory = mkdtempSync(join(options.directory, "sparsebak-bench-"));
const site = makeSite(directory, [volume]);
const image = join(site.images, volume);
try {
  process.stdout.write(
    `${(size / gib).toFixed(1)} GiB image with ${(dataBytes / 1e6).toFixed(0)} MB of data, ${(changedBytes / 1e6).toFixed(0)} MB changed\n`,
  );
  makeImage(image, { size, dataBytes, seed: 1 });
  const rows = await ours();
  show("sparsebak", rows);
  show("1 TiB image", await huge());
  for (const program of ["sparsebak", "spbk-assemble"])
    process.stdout.write(`\n${program} --version: ${(await startUp(program)).toFixed(0)} ms`);
  process.stdout.write("\n");
  if (options.rivals) {
    for (const name of ["borg", "restic"] as const) {
      try {
        execFileSync(name, [name === "restic" ? "version" : "--version"], { stdio: "ignore" });
      } catch {
        process.stdout.write(`\n${name}: not installed, left out\n`);
        continue;
      }
      show(name, await rival(name), rows);
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
