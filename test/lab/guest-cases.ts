// The vitest side of cases that ran in a guest: one test for each name that is expected, and one that nothing else came
// back.

import { beforeAll, describe, expect, test } from "vitest";
import { type CaseReport, caseReports } from "./cases.ts";
import { type GuestOptions, type GuestResult, runInGuest, tellOf } from "./lab.ts";

/** Boots one guest with `options`, whose program runs cases (runCases), and declares a test for each of `names`. */
export function describeGuestCases(title: string, names: readonly string[], options: GuestOptions): void {
  describe(title, () => {
    let result: GuestResult;
    let reports: readonly CaseReport[] = [];
    beforeAll(async () => {
      result = await runInGuest(options);
      reports = caseReports(result.stdout);
    });
    for (const name of names) {
      test(name, () => {
        const report = reports.find((each) => each.name === name);
        if (report === undefined) throw new Error(`no line came back for this case: ${tellOf(result)}`);
        if (!report.ok) throw new Error(`in the guest: ${report.error}`);
      });
    }
    test("the guest ran these cases and no others, and ended well", () => {
      expect(reports.map((each) => each.name)).toEqual(names);
      if (reports.every((each) => each.ok)) expect(result.exitCode, tellOf(result)).toBe(0);
    });
  });
}
