// Test cases that run in a guest, where there is no vitest: a tiny runner prints one line for each, and the lab test
// on this side turns the lines into assertions. The names are known on both sides, so that a case that never ran, or a
// guest that died in the middle, is a failure and no silence.

import { writeSync } from "node:fs";
import type { Case } from "../suites/case.ts";

/** What the guest said of a case. */
export interface CaseReport {
  readonly name: string;
  readonly ok: boolean;
  readonly seconds: number;
  /** Why it failed, with the stack. */
  readonly error?: string;
}

const mark = "case: ";

/** In the guest: runs all cases, one after another, whatever becomes of each. The process ends with 1 when one failed. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  for (const each of cases) {
    const started = performance.now();
    const report = (error?: string): void => {
      const seconds = Number(((performance.now() - started) / 1000).toFixed(2));
      const line: CaseReport = {
        name: each.name,
        ok: error === undefined,
        seconds,
        ...(error === undefined ? {} : { error }),
      };
      writeSync(1, `${mark}${JSON.stringify(line)}\n`);
    };
    try {
      await each.run();
      report();
    } catch (error) {
      process.exitCode = 1;
      report(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }
}

/** On this side: the reports among what the guest printed, in its order. */
export function caseReports(stdout: string): readonly CaseReport[] {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith(mark))
    .map((line) => JSON.parse(line.slice(mark.length)) as CaseReport);
}
