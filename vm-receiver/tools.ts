// Every program that the receiver starts, and the only place that starts one. Each gets a small environment, and of our
// descriptors only the one that it is to work on, as its stdin.

import { createReadStream, type ReadStream } from "node:fs";
import { execa } from "execa";

/** The outside tools: util-linux, coreutils, and the shell that runs one of them many times. */
const toolNames = ["flock", "sync", "sh"] as const;
export type Tool = (typeof toolNames)[number];

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface ToolResult {
  readonly exitCode: number | undefined;
  /** What it wrote to stderr, or why it could not be started: for messages. */
  readonly problem: string;
}

/** What our own programs are given besides their arguments. */
export interface ProgramOptions {
  /** Bytes that the program reads from descriptor 3. */
  readonly secret: Uint8Array;
  /** Descriptors of ours that are its 4, 5, …. */
  readonly descriptors: readonly number[];
  readonly signal: AbortSignal;
  /** A line of its standard output. */
  readonly onLine: (line: string) => void;
}

/** Runs a program of ours, a file for the Node that runs us. Never throws for a program that failed. */
export async function runProgram(
  file: string,
  args: readonly string[],
  { secret, descriptors, signal, onLine }: ProgramOptions,
): Promise<ToolResult> {
  const running = execa(process.execPath, [...process.execArgv, file, ...args], {
    stdio: ["ignore", "pipe", "pipe", secret, ...descriptors.map(inherited)],
    env: { PATH: systemPath, LC_ALL: "C" },
    extendEnv: false,
    cwd: "/",
    reject: false,
    cancelSignal: signal,
    buffer: { stdout: false },
    maxBuffer: 64 * 1024,
  });
  for await (const line of running.iterable({ from: "stdout" })) onLine(line);
  const { exitCode, stderr, shortMessage } = await running;
  return { exitCode, problem: ((exitCode === undefined ? shortMessage : stderr) ?? "").trim() };
}

/** A descriptor of ours as execa hands it on: as it is. */
function inherited(fd: number): ReadStream {
  return createReadStream("", { fd, autoClose: false });
}

/** Runs a tool on an open descriptor of ours, which is its stdin: the same open file, which is what a lock belongs to.
 *  Never throws for a tool that failed: look at exitCode. */
export async function runOn(fd: number, tool: Tool, args: readonly string[]): Promise<ToolResult> {
  const result = await execa(tool, args, {
    stdin: inherited(fd),
    stdout: "ignore",
    stderr: "pipe",
    env: { PATH: process.env["SPARSEBAK_TOOL_PATH"] ?? systemPath, LC_ALL: "C" },
    extendEnv: false,
    cwd: "/",
    reject: false,
    maxBuffer: 64 * 1024,
  });
  const problem =
    result.exitCode === undefined ? (result.originalMessage ?? result.shortMessage) : result.stderr;
  return { exitCode: result.exitCode, problem: (problem ?? "").trim() };
}
