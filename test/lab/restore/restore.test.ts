// Restoring on real thin volumes, in a QEMU guest (design section 8, "Restore").

import { expect, test } from "vitest";
import { projectRoot, runInGuest, tellOf } from "../lab.ts";

test("receive, diff and verify on real thin volumes", async () => {
  const result = await runInGuest({
    program: "test/lab/restore/main.ts",
    disks: ["3G", "1G"],
    env: { LAB_PROJECT: projectRoot },
    timeoutSeconds: 1500,
  });
  expect(result.exitCode, tellOf(result)).toBe(0);
  for (const part of ["swap", "confirm", "sizes", "in place", "running", "room", "kills", "import"]) {
    expect(result.stdout, tellOf(result)).toMatch(new RegExp(`^ok ${part}$`, "m"));
  }
  expect(result.stdout, tellOf(result)).toMatch(/^done$/m);
});

test("onto a pool that does not zero what it maps", async () => {
  const result = await runInGuest({
    program: "test/lab/restore/not-zeroed.ts",
    disks: ["1G", "512M"],
    env: { LAB_PROJECT: projectRoot },
    timeoutSeconds: 1500,
  });
  expect(result.exitCode, tellOf(result)).toBe(0);
  expect(result.stdout, tellOf(result)).toMatch(/^done$/m);
});
