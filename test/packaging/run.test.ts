// ./run, as somebody who is not root: what needs root says so before anything is set up. The script is alone in a
// directory, so that what it lets pass ends at the set-up.

import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const script = fileURLToPath(new URL("../../run", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "run-"));
chmodSync(directory, 0o755);
copyFileSync(script, join(directory, "run"));
afterAll(() => rmSync(directory, { recursive: true }));

const nobody = 65_534;

function runAsUser(line: string): { readonly status: number | null; readonly stderr: string } {
  const user = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  return spawnSync(join(directory, "run"), line.split(" "), { ...user, encoding: "utf8" });
}

test.each(["test", "test e2e", "test unit e2e", "test test/e2e/kills"])("./run %s needs root", (line) => {
  const { status, stderr } = runAsUser(line);
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^run: error: end-to-end tests: found user \S+, wanted root: .*\nrun: hint: .*\.\/run test unit.*\n$/,
  );
  expect(readdirSync(directory)).toEqual(["run"]);
});

test.each(["test unit", "test lab", "test test/protocol"])("./run %s does not", (line) => {
  const { status, stderr } = runAsUser(line);
  expect(status).not.toBe(0);
  expect(stderr).not.toContain("wanted root");
  expect(stderr).toContain("package.json");
});
