// Every program that the receiver starts, and the only place that starts one. Each gets a small environment, and of our
// descriptors only the one that it is to work on, as its stdin.

import { createReadStream } from "node:fs";
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

/** Runs a tool on an open descriptor of ours, which is its stdin: the same open file, which is what a lock belongs to.
 *  Never throws for a tool that failed: look at exitCode. */
export async function runOn(fd: number, tool: Tool, args: readonly string[]): Promise<ToolResult> {
  const result = await execa(tool, args, {
    stdin: createReadStream("", { fd, autoClose: false }),
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
