// The last lines of a test run: every skipped test by name and reason, every failed one by name, then one line that counts. They go to a file, and
// `./run test` prints them after all else, because other steps have their say too.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Reporter, TestCase, TestModule, Vitest } from "vitest/node";

/** Where the summary is written, relative to the project's root. */
const summaryPath = process.env["SPARSEBAK_SUMMARY"] ?? "test/.cache/summary";

function skippedLine(project: string, file: string, test: TestCase): string {
  const result = test.result();
  const note = result.state === "skipped" ? result.note : undefined;
  return `skipped: [${project}] ${file} > ${test.fullName}${note === undefined ? "" : ` (${note})`}`;
}

/** The lines for what ran. A file that failed as a whole, with no failed test to show for it, counts as one failure. */
export function summarize(modules: readonly TestModule[], unhandledErrors: number): string[] {
  const skipped: string[] = [];
  const failures: string[] = [];
  let passed = 0;
  let failed = unhandledErrors;
  for (const module of modules) {
    let failedHere = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") passed++;
      else if (state === "skipped")
        skipped.push(skippedLine(module.project.name, module.relativeModuleId, test));
      else {
        // Failed, or never finished.
        failedHere++;
        failures.push(`failed: [${module.project.name}] ${module.relativeModuleId} > ${test.fullName}`);
      }
    }
    if (failedHere === 0 && !module.ok())
      failures.push(`failed: [${module.project.name}] ${module.relativeModuleId}`);
    failed += failedHere === 0 && !module.ok() ? 1 : failedHere;
  }
  return [...skipped, ...failures, `${passed} passed, ${failed} failed, ${skipped.length} skipped`];
}

export default class SummaryReporter implements Reporter {
  #root = ".";

  onInit(vitest: Vitest): void {
    this.#root = vitest.config.root;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const path = join(this.#root, summaryPath);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, `${summarize(modules, unhandledErrors.length).join("\n")}\n`);
  }
}
