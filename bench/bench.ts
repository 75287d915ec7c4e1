// ./run bench: time, processor time, peak memory and bytes of the main jobs, on data that is the same every time:
// 2 GB of mixed compressibility in a 10 GiB image, then 300 MB of scattered change. An archive that is sealed and one
// that isn't take turns, several rounds of it, so that what sealing costs can be told from how the machine's speed
// drifts: the figures are medians, the ratio is the median of the rounds' ratios. With --rivals the same jobs by borg and
// restic, which encrypt too, in the same run on the same files, and the ratios. Then what should not grow: an image of
// 1 TiB with little in it, and ten changed chunks; and how long the programs take to start. An image file has no snapshots,
// so that its monitor has nothing to do but to start.

import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { changeImage, makeImage } from "./image.ts";
import { diskUse, measure, median, medians, type Row, show } from "./measure.ts";
import { makeSite, type Site, table } from "./programs.ts";
import { rival } from "./rivals.ts";

const usage = `usage: ./run bench [OPTION...]

  --rivals         also borg and restic, with the same jobs
  --rounds N       how often the main jobs are measured, sealed and not (4)
  --scale N        divides all sizes: 10 for a quick look (1)
  --directory DIR  where images and archives are made (${tmpdir()})
`;

function parsed() {
  try {
    const { values } = parseArgs({
      options: {
        help: { type: "boolean", default: false },
        rivals: { type: "boolean", default: false },
        rounds: { type: "string", default: "4" },
        scale: { type: "string", default: "1" },
        directory: { type: "string", default: tmpdir() },
      },
    });
    for (const name of ["rounds", "scale"] as const)
      if (!/^[1-9]\d{0,3}$/.test(values[name]))
        throw new Error(`--${name}: found ${values[name]}, wanted a number from 1 to 9999`);
    return values;
  } catch (error) {
    process.stderr.write(`bench: error: ${(error as Error).message}\n${usage}`);
    return process.exit(2);
  }
}

const options = parsed();
if (options.help) {
  process.stdout.write(usage);
  process.exit(0);
}
const scale = Number(options.scale);
const gib = 1024 ** 3;
const size = Math.floor((10 * gib) / scale / 65_536) * 65_536;
const dataBytes = Math.floor(2e9 / scale);
const changedBytes = Math.floor(300e6 / scale);
const volume = "vm-bench-private.img";
const bin = new URL("../dist/bin/", import.meta.url).pathname;

/** Both kinds of archive, and what each step of a round has cost with it. */
interface Round {
  readonly sealed: readonly Row[];
  readonly unsealed: readonly Row[];
}

/** The main jobs, once with each kind of archive; which one goes first takes turns too. */
async function round(number: number): Promise<Round> {
  const place = join(directory, `round${number}`);
  const outputOf = (kind: string): string => join(place, `${kind}.img`);
  const kinds = (["sealed", "unsealed"] as const).map((kind) => {
    const site = makeSite(join(place, kind), [volume], { images, sealed: kind === "sealed" });
    return { kind, site, archive: join(site.destination, "backups"), rows: [] as Row[] };
  });
  if (number % 2 === 1) kinds.reverse();
  makeImage(image, { size, dataBytes, seed: 1 });
  for (const { kind, site, archive, rows } of kinds) {
    if (kind === "sealed")
      execFileSync(join(bin, "sparsebak"), ["-c", site.ini, "-q", "init", "--no-passphrase"]);
    const args = ["-c", site.ini, "-u", "-q", "send"];
    rows.push({
      what: "first send",
      ...(await measure(join(bin, "sparsebak"), args)),
      bytes: diskUse(archive),
    });
  }
  changeImage(image, changedBytes, 2, size);
  for (const { site, archive, rows } of kinds) {
    const args = ["-c", site.ini, "-u", "-q"];
    rows.push({
      what: "monitor (nothing to do)",
      ...(await measure(join(bin, "sparsebak"), [...args, "monitor"])),
      bytes: 0,
    });
    const before = diskUse(archive);
    const sent = await measure(join(bin, "sparsebak"), [...args, "send"]);
    rows.push({ what: "second send", ...sent, bytes: diskUse(archive) - before });
  }
  for (const { kind, site, archive, rows } of kinds) {
    // With a read key the program finds the volume by itself.
    const what = kind === "sealed" ? [archive, "--key", readKeyOf(site)] : [join(archive, volume)];
    const output = outputOf(kind);
    const assembled = await measure(join(bin, "spbk-assemble"), [...what, "-o", output, "-q"]);
    rows.push({ what: "assemble", ...assembled, bytes: diskUse(output) });
  }
  // Only now: whoever comes after a file of gigabytes was removed finds memory that is free already, and is faster for it.
  for (const { kind } of kinds) execFileSync("cmp", [outputOf(kind), image]);
  rmSync(place, { recursive: true });
  const rowsOf = (kind: string): Row[] => kinds.find((each) => each.kind === kind)?.rows ?? [];
  return { sealed: rowsOf("sealed"), unsealed: rowsOf("unsealed") };
}

/** The path of a file with the key that opens the volume of a sealed archive. */
function readKeyOf(site: Site): string {
  const path = join(site.destination, "key");
  writeFileSync(
    path,
    execFileSync(join(bin, "sparsebak"), ["-c", site.ini, "-q", "key", "--export", volume]),
  );
  return path;
}

/** What sealing costs: the sealed archive's time by the other's, for each job, and for all that a round takes. */
function costOfSealing(rounds: readonly Round[]): string {
  const jobs = rounds[0]?.sealed.map((row) => row.what) ?? [];
  const ratio = (of: (rows: readonly Row[]) => number): string =>
    median(rounds.map((each) => of(each.sealed) / of(each.unsealed))).toFixed(2);
  const sum = (rows: readonly Row[], which: (row: Row) => boolean, figure: (row: Row) => number): number =>
    rows.filter(which).reduce((total, row) => total + figure(row), 0);
  const line = (what: string, which: (row: Row) => boolean): readonly string[] => [
    what,
    ratio((rows) => sum(rows, which, (row) => row.seconds)),
    ratio((rows) => sum(rows, which, (row) => row.cpuSeconds)),
  ];
  return table([
    ["sealed by unsealed", "seconds", "cpu s"],
    ...jobs.map((job) => line(job, (row) => row.what === job)),
    line("all", () => true),
  ]);
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

const directory = mkdtempSync(join(options.directory, "sparsebak-bench-"));
const images = join(directory, "images");
const image = join(images, volume);
mkdirSync(images);
try {
  process.stdout.write(
    `${(size / gib).toFixed(1)} GiB image with ${(dataBytes / 1e6).toFixed(0)} MB of data, ${(changedBytes / 1e6).toFixed(0)} MB changed\n`,
  );
  const rounds: Round[] = [];
  while (rounds.length < Number(options.rounds)) rounds.push(await round(rounds.length));
  const rows = medians(rounds.map((each) => each.sealed));
  show("sparsebak, sealed", rows);
  show("not sealed", medians(rounds.map((each) => each.unsealed)));
  process.stdout.write(`\n${costOfSealing(rounds)}\n`);
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
      show(name, await rival(name, { image, size, dataBytes, changedBytes }, directory), rows);
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
