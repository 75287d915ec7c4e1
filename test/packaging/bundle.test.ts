// What the programs read before they know what is wanted of them: little enough to start in a tenth of a second.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { bundle } from "../../packaging/bundle.ts";
import { programVersion } from "../../protocol/version.ts";

test.each([
  ["sparsebak", "dom0-agent/cli/main.ts"],
  ["spbk-assemble", "vm-receiver/assemble/cli.ts"],
])("%s starts without what only its commands need", async (name, source) => {
  const files = await bundle(source, `${name}.mjs`);
  const read = files.filter((each) => each.name !== `${name}-later.mjs`);
  expect(read).toHaveLength(files.length - 1);
  const heavy = /from "(node:)?(child_process|crypto|worker_threads|zlib)"/;
  expect(read.flatMap(({ text }) => heavy.exec(text)?.[0] ?? [])).toEqual([]);

  const directory = mkdtempSync(join(tmpdir(), "bundle-"));
  try {
    for (const each of read) writeFileSync(join(directory, each.name), each.text);
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [join(directory, `${name}.mjs`), ...args], { encoding: "utf8" });
    expect(run("--version")).toMatchObject({ status: 0, stdout: `${programVersion}\n`, stderr: "" });
    expect(run("--help")).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("Options:"),
      stderr: "",
    });
    const wrong = run("--no-such-option");
    expect(wrong).toMatchObject({ status: 2, stdout: "" });
    expect(wrong.stderr).toMatch(new RegExp(`^${name}: error: .*`));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("of what is built, only spbk-assemble and the thread that opens chunks hold what opens a seal", async () => {
  const sealing = async (source: string, name: string): Promise<readonly string[]> =>
    (await bundle(source, name)).flatMap(({ text }) =>
      [...text.matchAll(/^\/\/ (protocol\/seal\/\S+)$/gm)].map(([, file]) => file ?? ""),
    );
  expect(await sealing("vm-receiver/service/main.ts", "receiver.mjs")).toEqual([]);
  expect(await sealing("vm-receiver/assemble/cli.ts", "spbk-assemble.mjs")).toContain(
    "protocol/seal/secret.ts",
  );
  const worker = await sealing("vm-receiver/assemble/worker.ts", "open-worker.mjs");
  expect(worker).toContain("protocol/seal/open-chunk.ts");
  // It opens chunks with the key that it is given, and makes none out of a passphrase.
  expect(worker).not.toContain("protocol/seal/secret.ts");
  expect(worker).not.toContain("protocol/seal/slot.ts");
});
