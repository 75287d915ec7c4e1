// The scripts that start the programs, where the machine's Node is too old or missing.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { launcher } from "../../packaging/launcher.ts";

/** Starts a program that prints its arguments, on a machine whose /usr/bin/node is `node`. */
function started(node: (path: string) => void): { status: number | null; stdout: string; stderr: string } {
  const root = mkdtempSync(join(tmpdir(), "launcher-"));
  try {
    mkdirSync(join(root, "bin"));
    mkdirSync(join(root, "lib"));
    const system = join(root, "usr-bin-node");
    node(system);
    const text = launcher({ name: "program", bundle: "program.mjs", kind: "command" });
    writeFileSync(join(root, "bin/program"), text.replaceAll("/usr/bin/node", system), { mode: 0o755 });
    writeFileSync(join(root, "lib/program.mjs"), "console.log(process.argv.slice(2).join());");
    const path = spawnSync("sh", ["-c", "command -v readlink"], { encoding: "utf8" }).stdout.trim();
    for (const tool of ["readlink", "env"]) symlinkSync(path.replace(/readlink$/, tool), join(root, tool));
    return spawnSync(join(root, "bin/program"), ["a", "b c"], { env: { PATH: root }, encoding: "utf8" });
  } finally {
    rmSync(root, { recursive: true });
  }
}

const ofVersion =
  (version: string) =>
  (path: string): void => {
    writeFileSync(path, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
  };

test.each(["v4.9.1", "v18.20.4", "v20.19.2", "v22.9.0", "v22.14.9"])("Node %s is too old", (version) => {
  const { status, stdout, stderr } = started(ofVersion(version));
  expect({ status, stdout }).toEqual({ status: 127, stdout: "" });
  expect(stderr).toMatch(
    new RegExp(`^sparsebak: error: .*usr-bin-node is version ${version}, wanted 22.15 or later$`, "m"),
  );
  expect(stderr).toMatch(/^sparsebak: hint: /m);
});

test.each(["v22.15.0", "v22.20.1", "v23.0.0", "v30.0.0", "v100.1.0"])("Node %s is taken", (version) => {
  expect(started(ofVersion(version))).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: "" });
});

test("the machine's own Node runs the program, with its arguments", () => {
  const run = started((path) => {
    symlinkSync(process.execPath, path);
  });
  expect(run).toMatchObject({ status: 0, stdout: "a,b c\n", stderr: "" });
});

test("no Node at all", () => {
  const run = started(() => undefined);
  expect(run).toMatchObject({ status: 127, stdout: "" });
  expect(run.stderr).toContain("Node.js not found");
});
