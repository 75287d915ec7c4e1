// What the tests of spbk-assemble share: scratch directories, images with something in them, and the program itself as
// a child process.

import { spawn, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

export const chunk: number = 64 * 1024;

/** A directory that is gone after the test. */
export function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), "spbk-assemble-test-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** An image of `size` bytes: each part's bytes at its chunk, zeros elsewhere. */
export function imageOf(size: number, parts: Readonly<Record<number, Uint8Array>> = {}): Buffer {
  const image = Buffer.alloc(size);
  for (const [at, bytes] of Object.entries(parts)) image.set(bytes, Number(at) * chunk);
  return image;
}

/** `chunks` chunks of noise. */
export function noise(chunks: number): Buffer {
  return randomBytes(chunks * chunk);
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const program = fileURLToPath(new URL("../../../vm-receiver/assemble/cli.ts", import.meta.url));

export interface Ran {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts spbk-assemble; the test kills it if it is still there at its end. */
export function start(args: readonly string[], options: RunOptions = {}): ChildProcess {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  return child;
}

/** What a child printed and how it ended. */
export async function ended(child: ChildProcess): Promise<Ran> {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on("data", (bytes: Buffer) => stdout.push(bytes));
  child.stderr?.on("data", (bytes: Buffer) => stderr.push(bytes));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      resolve({ status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() });
    });
  });
}

/** Runs spbk-assemble to its end. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return ended(start(args, options));
}

/** The command line of the program, for a shell. */
export function commandLine(args: readonly string[]): string {
  return [process.execPath, program, ...args].map((each) => `'${each}'`).join(" ");
}
