// Each rule is broken once in a small tree of its own; what the rules allow stands beside it and is not reported.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { checkImports } from "./import-rules.ts";

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function tree(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "import-rules-"));
  roots.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

/** `path:line: rule` of each violation in a tree of these files. */
function check(files: Readonly<Record<string, string>>): string[] {
  return checkImports(tree(files)).map(({ path, line, rule }) => `${path}:${line}: ${rule}`);
}

describe("a forbidden import is reported with its line", () => {
  test.each<[string, string, RegExp]>([
    ["protocol/wire/a.ts", 'import "node:fs";', /^protocol\/ must not import the built-in module node:fs$/],
    ["protocol/wire/a.ts", 'import "node:crypto";', /node:crypto may be imported only by protocol\/archive/],
    ["protocol/seal/a.ts", 'import "node:zlib";', /node:zlib may be imported only by protocol\/seal\/chunk/],
    ["protocol/seal/a.ts", 'import "node:fs";', /must not import the built-in module node:fs/],
    ["protocol/seal/a.ts", 'import "node:child_process";', /must not import the built-in/],
    ["protocol/wire/a.ts", 'import "lodash";', /must not use the package lodash/],
    ["protocol/wire/a.ts", 'import "execa";', /execa may be imported only by/],
    ["protocol/wire/a.ts", 'import "../../dom0-agent/b.ts";', /^protocol\/ may import only/],
    ["protocol/wire/a.ts", 'import "../seal/b.ts";', /^protocol\/seal\/ may be imported only by/],
    ["protocol/archive/a.ts", 'import "../seal/b.ts";', /^protocol\/seal\/ may be imported only by/],
    [
      "dom0-agent/a.ts",
      'import "../vm-receiver/b.ts";',
      /^dom0-agent\/ may import only .* not vm-receiver\/b.ts$/,
    ],
    ["dom0-agent/a.ts", 'import "../test/support/b.ts";', /^dom0-agent\/ may import only/],
    [
      "vm-receiver/a.ts",
      'import "../dom0-agent/b.ts";',
      /^vm-receiver\/ may import only .* not dom0-agent\/b.ts$/,
    ],
    [
      "vm-receiver/serve/a.ts",
      'import "../../protocol/seal/b.ts";',
      /^protocol\/seal\/ may be imported only/,
    ],
    [
      "dom0-agent/state/a.ts",
      'import "../send/b.ts";',
      /^dom0-agent\/state\/ may import only what is below it, not dom0-agent\/send\/$/,
    ],
    ["dom0-agent/archive/a.ts", 'import "../cli/commands/b.ts";', /may import only what is below it/],
    ["vm-receiver/store/a.ts", 'import "../service/b.ts";', /may import only what is below it/],
    ["dom0-agent/a.ts", 'import "execa";', /execa may be imported only by dom0-agent\/tools.ts/],
    ["dom0-agent/sub/tools.ts", 'import "execa";', /execa may be imported only/],
    ["dom0-agent/session/a.ts", 'import "yargs/helpers";', /yargs may be imported only by dom0-agent\/cli/],
    ["vm-receiver/assemble/a.ts", 'import "yargs";', /yargs may be imported only by/],
    [
      "vm-receiver/store/a.ts",
      'import "tar-stream";',
      /tar-stream may be imported only by vm-receiver\/store\/tar/,
    ],
    ["vm-receiver/service.ts", 'import "ini";', /ini may be imported only by/],
    ["vm-receiver/a.ts", 'import "@scope/name/sub";', /must not use the package @scope\/name$/],
    ["dom0-agent/a.ts", 'import "node:child_process";', /node:child_process may be imported only by/],
    ["dom0-agent/a.ts", 'import "fs";', /must be imported as node:fs/],
    ["dom0-agent/a.ts", 'import "/etc/a.js";', /must not be absolute/],
    ["dom0-agent/a.ts", 'const name = "x"; await import(name);', /must name its module in a literal string/],
  ])("%s: %s", (path, line, rule) => {
    const found = checkImports(tree({ [path]: `// first line\n${line}\n` }));
    expect(found).toEqual([{ path, line: 2, rule: expect.stringMatching(rule) }]);
  });
});

describe("every form of import counts", () => {
  test.each([
    'import a from "execa";',
    'import type { A } from "execa";',
    'import { type A } from "execa";',
    'export { a } from "execa";',
    'export type { A } from "execa";',
    'export * from "execa";',
    'await import("execa");',
    'export type A = typeof import("execa");',
    'export type A = import("execa").Options;',
    'const a = require("execa");',
    'import a = require("execa");',
    'process.getBuiltinModule("node:child_process");',
  ])("%s", (line) => {
    expect(check({ "dom0-agent/a.ts": line })).toHaveLength(1);
  });

  test("text that only looks like an import does not", () => {
    const text = '// import "execa";\nexport const a: string = `import "execa"`;\nexport { a as b };\n';
    expect(check({ "dom0-agent/a.ts": text })).toEqual([]);
  });
});

test("what the rules allow is not reported", () => {
  const found = check({
    "protocol/seal/key.ts": 'import "node:crypto"; import "../wire/bytes.ts";',
    "protocol/archive/digest.ts": 'import { createHash } from "node:crypto";',
    "protocol/wire/bytes.ts": "export const a = 1;",
    "dom0-agent/tools.ts": 'import "execa"; import "node:child_process";',
    "dom0-agent/cli/main.ts": 'import "yargs"; import "yargs/helpers"; import "../config/read.ts";',
    "dom0-agent/config/read.ts": 'import "ini"; import "node:fs"; import "../../protocol/seal/key.ts";',
    "vm-receiver/tools.ts": 'import "execa";',
    "vm-receiver/assemble/arguments.ts": 'import "yargs";',
    "vm-receiver/assemble/cli.ts": 'import "./arguments.ts"; import "./unlock.ts";',
    "vm-receiver/assemble/unlock.ts": 'import "../../protocol/seal/key.ts";',
    "vm-receiver/store/tar/write.ts": 'import "tar-stream";',
    "vm-receiver/config/read.ts": 'import "ini";',
    "test/a.test.ts": 'import "vitest"; import "node:child_process"; import "../dom0-agent/tools.ts";',
    "bench/a.ts": 'import "execa"; import "../vm-receiver/tools.ts";',
    "packaging/a.ts": 'import "esbuild";',
  });
  expect(found).toEqual([]);
});

describe("files that import each other in a circle", () => {
  test("are reported at the import that closes it", () => {
    const found = check({
      "dom0-agent/a.ts": 'import "./b.ts";',
      "dom0-agent/b.ts": '\nimport type { C } from "./sub/c.ts";',
      "dom0-agent/sub/c.ts": 'import "../a.ts";',
    });
    expect(found).toEqual([
      expect.stringMatching(/^dom0-agent\/sub\/c.ts:1: .*a.ts -> .*b.ts -> .*c.ts -> .*a.ts$/),
    ]);
  });

  test("are reported below test/ too, and when a file imports itself", () => {
    expect(check({ "test/a.ts": 'import "./a.ts";' })).toHaveLength(1);
  });

  test("are not seen where two ways lead to one file", () => {
    const found = check({
      "protocol/a.ts": 'import "./b.ts"; import "./c.ts";',
      "protocol/b.ts": 'import "./d.ts";',
      "protocol/c.ts": 'import "./d.ts";',
      "protocol/d.ts": "",
    });
    expect(found).toEqual([]);
  });
});

describe("the program", () => {
  const program = fileURLToPath(new URL("import-rules.ts", import.meta.url));
  const run = (root: string): { status: number | null; stdout: string } =>
    spawnSync(process.execPath, [program, root], { encoding: "utf8" });

  test("prints the violations and exits 1", () => {
    const { status, stdout } = run(tree({ "protocol/a.ts": '\nimport "node:os";\n' }));
    expect(stdout).toBe("protocol/a.ts:2: protocol/ must not import the built-in module node:os\n");
    expect(status).toBe(1);
  });

  test("prints nothing and exits 0 when all is well", () => {
    const { status, stdout } = run(tree({ "protocol/a.ts": "export const a = 1;\n" }));
    expect(stdout).toBe("");
    expect(status).toBe(0);
  });
});
