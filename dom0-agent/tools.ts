// Every program that the agent starts, and the only place that starts one. dom0's PATH and environment are not
// trusted to be anything: tools are looked up in the system's directories and get a small environment.

import { createReadStream, existsSync, type ReadStream } from "node:fs";
import { join } from "node:path";
import { execa, type ResultPromise } from "execa";

/** The outside tools: lvm2, device-mapper, thin-provisioning-tools, util-linux, coreutils, e2fsprogs, Qubes, OpenSSH. */
const toolNames = [
  "lvm",
  "lvs",
  "dmsetup",
  "thin_delta",
  "thin_dump",
  "flock",
  "filefrag",
  "fallocate",
  "blkdiscard",
  "blockdev",
  "sh",
  "qrexec-client",
  "qvm-start",
  "qvm-check",
  "qvm-volume",
  "ssh",
] as const;
export type Tool = (typeof toolNames)[number];

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Bytes of a tool's output that `runTool` keeps: what lvs prints for thousands of volumes. */
const maxOutputBytes = 64 * 1024 * 1024;

function toolPath(): string {
  return process.env["SPARSEBAK_TOOL_PATH"] ?? systemPath;
}

/** True where a tool is installed. */
export function hasTool(tool: Tool): boolean {
  return toolPath()
    .split(":")
    .some((directory) => existsSync(join(directory, tool)));
}

/** The environment every child gets: nothing of ours but what it needs to find its files and its user. */
function childEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: toolPath(),
    LANG: "C",
    LC_ALL: "C",
    LVM_SUPPRESS_FD_WARNINGS: "1",
  };
  for (const name of ["HOME", "USER", "SSH_AUTH_SOCK", "DM_DISABLE_UDEV"]) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return { ...environment, ...extra };
}

/** What hands an open descriptor to a child as it is: the same open file, which is what a lock belongs to. */
function shared(fd: number | undefined): "ignore" | ReadStream {
  return fd === undefined ? "ignore" : createReadStream("", { fd, autoClose: false });
}

let trace: (text: string) => void = () => undefined;

/** Has every outside program told of when it is started. No secret is ever among a program's arguments. */
export function traceTools(to: (text: string) => void): void {
  trace = to;
}

export interface ToolResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Why it could not be started, or which signal ended it. */
  readonly failure: string | undefined;
}

export interface ToolOptions {
  readonly input?: string;
  readonly signal?: AbortSignal;
  /** Milliseconds after which it is killed. */
  readonly timeout?: number;
  /** A file descriptor of ours that becomes the child's stdin (flock locks what it is given). */
  readonly stdinFd?: number;
}

/** Runs a tool to its end and gives what it printed. Never throws for a tool that failed: look at exitCode. */
export async function runTool(
  tool: Tool,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  trace([tool, ...args].join(" "));
  const stdin = options.input === undefined ? { stdin: shared(options.stdinFd) } : { input: options.input };
  const result = await execa(tool, args, {
    ...stdin,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    env: childEnvironment(),
    extendEnv: false,
    reject: false,
    maxBuffer: maxOutputBytes,
    stripFinalNewline: false,
  });
  return {
    exitCode: result.exitCode,
    stdout: result.stdout ?? "",
    stderr: result.stderr ?? "",
    failure:
      result.failed && result.exitCode === undefined
        ? (result.originalMessage ?? result.shortMessage)
        : undefined,
  };
}

/** A child with pipes of its own on stdin, stdout and stderr. It resolves, whatever became of it. */
export type PipedChild = ResultPromise<{
  buffer: false;
  reject: false;
  stdin: "pipe";
  stdout: "pipe";
  stderr: "pipe";
}>;

/** Starts a tool, or a program by its path, with three pipes of its own. The caller reads them and awaits the end. */
export function startPiped(
  command: Tool | `/${string}`,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly ownGroup?: boolean } = {},
): PipedChild {
  trace([command, ...args].join(" "));
  return execa(command, args, {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    buffer: false,
    reject: false,
    encoding: "buffer",
    env: childEnvironment(options.env),
    extendEnv: false,
    ...(options.ownGroup === true ? { detached: true } : {}),
  }) as PipedChild;
}
