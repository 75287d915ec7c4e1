// What one command costs: time, processor time, peak memory; tables of such rows, and medians of several.

import { execFileSync, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { table } from "./programs.ts";

export interface Measured {
  readonly seconds: number;
  /** User and system time of the command and all that it waited for. */
  readonly cpuSeconds: number;
  /** The largest single process, bytes. */
  readonly peakBytes: number;
}

/** Runs a command under time(1). Throws when it fails. */
export async function measure(
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Measured> {
  // What the step before has written is not this one's to write out.
  execFileSync("sync");
  const report = join(tmpdir(), `sparsebak-time-${process.pid}`);
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
  rmSync(report);
  return { seconds, cpuSeconds: user + system, peakBytes: kilobytes * 1024 };
}

export interface Row extends Measured {
  readonly what: string;
  readonly bytes: number;
}

/** Bytes that a directory takes. */
export function diskUse(path: string): number {
  return Number(execFileSync("du", ["-s", "-B1", path], { encoding: "utf8" }).split("\t")[0]);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2;
}

/** The rows of several rounds as one: the median of each figure, but the largest memory. */
export function medians(rounds: readonly (readonly Row[])[]): Row[] {
  return (rounds[0] ?? []).map(({ what }, i) => {
    const same = rounds.flatMap((rows) => rows[i] ?? []);
    return {
      what,
      seconds: median(same.map((row) => row.seconds)),
      cpuSeconds: median(same.map((row) => row.cpuSeconds)),
      peakBytes: Math.max(...same.map((row) => row.peakBytes)),
      bytes: median(same.map((row) => row.bytes)),
    };
  });
}

/** Prints rows under a title, and next to `compared`, by what share of its time these took. */
export function show(title: string, rows: readonly Row[], compared: readonly Row[] = []): void {
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
