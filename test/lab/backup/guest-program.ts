// What every program in a guest works with: commands that succeed, what they said, checks, and lines for the test outside.

import { spawnSync } from "node:child_process";

export const mib: number = 1024 * 1024;

export interface Ran {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command; its output is only shown when it fails. Throws then. */
export function must(command: string, ...args: readonly string[]): string {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 64 * mib });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.status}: ${done.stderr}`);
  return done.stdout;
}

export function sha256(path: string): string {
  return must("sha256sum", path).slice(0, 64);
}

/** What --json printed. */
export function linesOf(ran: Ran): readonly Readonly<Record<string, unknown>>[] {
  return ran.stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
}

/** The line of a volume in there. */
export function lineOf(ran: Ran, volume: string): Readonly<Record<string, unknown>> {
  return linesOf(ran).find((line) => line["type"] === "volume" && line["volume"] === volume) ?? {};
}

export function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** A line for the test that started the guest. */
export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
