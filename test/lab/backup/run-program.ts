// Runs one of the programs here in a guest of its own, with a disk for the pool and one for the drive.

import { expect } from "vitest";
import { projectRoot, runInGuest, tellOf } from "../lab.ts";

/** A guest is slow without hardware virtualization: by default a part of what could be done. With it, hours. */
export const long: boolean = process.env["SPARSEBAK_LAB_LONG"] !== undefined;

/** `count` of them by chance, in their order; in a long run all. */
export function someOf<T>(all: readonly T[], count: number): readonly T[] {
  if (long) return all;
  const left = all.map((_, i) => i);
  while (left.length > count) left.splice(Math.floor(Math.random() * left.length), 1);
  return left.map((i) => all[i] as T);
}

/** Gives what the program printed, which may write to `shares`. Fails the test unless it ends well, with "done". */
export async function runProgram(
  program: string,
  args: readonly string[] = [],
  shares: readonly string[] = [],
): Promise<string> {
  const result = await runInGuest({
    program: `test/lab/backup/${program}.ts`,
    args,
    shares,
    disks: ["3G", "1G"],
    env: { LAB_PROJECT: projectRoot },
    timeoutSeconds: long ? 6 * 3600 : 1500,
  });
  expect(result.exitCode, tellOf(result)).toBe(0);
  expect(result.stdout, tellOf(result)).toMatch(/^done/m);
  return result.stdout;
}
