// node bench/prune.ts: what a prune costs in an archive of a thousand sessions and a million chunks: one session, then
// retention that leaves thirty. Time, and the largest memory of the agent and of the receiver, which is its child.
// With --sessions and --chunks other sizes, to see what grows with what; with --no-files the archive has all but its
// chunk files, so that what is measured is the prune and not the file system. Wants ./run build before.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeLongArchive } from "./long-archive.ts";
import { makeSite, table } from "./programs.ts";

const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    sessions: { type: "string", default: "1000" },
    chunks: { type: "string", default: "1000000" },
    files: { type: "boolean", default: true },
    directory: { type: "string", default: tmpdir() },
  },
});
const volume = "vm-bench-private.img";
const directory = mkdtempSync(join(options.directory, "sparsebak-bench-prune-"));
const program = new URL("../dist/bin/sparsebak", import.meta.url).pathname;

/** Peak resident bytes of a process, sampled; 0 where it is gone. */
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

async function measured(what: string, args: readonly string[]): Promise<readonly string[]> {
  const start = performance.now();
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
  process.stdout.write(stdout);
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
  const agent = peaks.get(pid) ?? 0;
  const receiver = Math.max(0, ...[...peaks].filter(([each]) => each !== pid).map(([, bytes]) => bytes));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const cpuSeconds = [...cpu.values()].reduce((sum, each) => sum + each, 0).toFixed(1);
  return [what, seconds, cpuSeconds, mebibytes(agent), mebibytes(receiver)];
}

const site = makeSite(directory, [volume]);
try {
  const of = { sessions: Number(options.sessions), chunks: Number(options.chunks), files: options.files };
  const files = await makeLongArchive(join(site.destination, "backups"), directory, volume, of);
  console.log(`${of.sessions} sessions, ${files} chunks`);
  const rows = [
    await measured("dry run", ["-q", "prune", "--keep-last", "30", "--dry-run"]),
    await measured("one session", ["prune", "--session", "S_20260102-000000"]),
    await measured("all but 30", ["prune", "--keep-last", "30"]),
  ];
  console.log(table([["prune", "seconds", "CPU", "agent", "receiver"], ...rows]));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
