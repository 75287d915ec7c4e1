// What one command costs: time, processor time, peak memory; that of the agent and of the receiver by themselves; tables of
// such rows, and medians of several.

import { execFileSync, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Site, table } from "./programs.ts";

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

/** What a command of sparsebak costs on each side. */
export interface Sides {
  readonly seconds: number;
  /** Of agent and receiver together. */
  readonly cpuSeconds: number;
  /** The most that was resident of the agent, and of the receiver, which is its child. */
  readonly agentBytes: number;
  readonly receiverBytes: number;
  readonly stdout: string;
}

/** Runs sparsebak, unattended. Throws when it fails. */
export async function measureBoth(site: Site, args: readonly string[]): Promise<Sides> {
  const start = performance.now();
  const program = new URL("../dist/bin/sparsebak", import.meta.url).pathname;
  const child = spawn(program, ["-c", site.ini, "-u", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const pid = child.pid ?? 0;
  const peaks = new Map<number, number>();
  const cpu = new Map<number, number>();
  const sampling = setInterval(() => {
    for (const each of [pid, ...childrenOf(pid)]) {
      peaks.set(each, Math.max(peaks.get(each) ?? 0, peakOf(each)));
      cpu.set(each, Math.max(cpu.get(each) ?? 0, cpuOf(each)));
    }
  }, 20);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  clearInterval(sampling);
  if (code !== 0) throw new Error(`sparsebak ${args.join(" ")}: exit status ${code}`);
  return {
    seconds: (performance.now() - start) / 1000,
    cpuSeconds: [...cpu.values()].reduce((sum, each) => sum + each, 0),
    agentBytes: peaks.get(pid) ?? 0,
    receiverBytes: Math.max(0, ...[...peaks].filter(([each]) => each !== pid).map(([, bytes]) => bytes)),
    stdout,
  };
}

/** Peak resident bytes of a process so far; 0 where it is gone. */
function peakOf(pid: number): number {
  try {
    const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return Number(match?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Processor seconds of a process so far; 0 where it is gone. */
function cpuOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return text === "" ? [] : text.split(" ").map(Number);
  } catch {
    return [];
  }
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`;
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
