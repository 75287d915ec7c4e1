// The scripts that start the programs, where the machine's Node is too old or missing.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Launcher, launcher } from "../../packaging/launcher.ts";

type Run = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

interface Started {
  readonly kind: Launcher["kind"];
  readonly program: string;
  readonly first: string;
}

const printsArguments = "console.log(process.argv.slice(2).join());";

/** Starts a program, else one that prints its arguments, on a machine whose /usr/bin/node is `node`, from a shell that
 *  has done `first`. */
function started(
  node: (path: string) => void,
  { kind = "command", program = printsArguments, first = "true" }: Partial<Started> = {},
): Run {
  const root = mkdtempSync(join(tmpdir(), "launcher-"));
  try {
    mkdirSync(join(root, "bin"));
    mkdirSync(join(root, "lib"));
    const system = join(root, "usr-bin-node");
    node(system);
    const text = launcher({ name: "program", bundle: "program.mjs", kind });
    writeFileSync(join(root, "bin/program"), text.replaceAll("/usr/bin/node", system), { mode: 0o755 });
    writeFileSync(join(root, "lib/program.mjs"), program);
    const path = spawnSync("sh", ["-c", "command -v readlink"], { encoding: "utf8" }).stdout.trim();
    for (const tool of ["readlink", "env"]) symlinkSync(path.replace(/readlink$/, tool), join(root, tool));
    const args = ["-c", `${first}; exec "$0" "$@"`, join(root, "bin/program"), "a", "b c"];
    return spawnSync("/bin/sh", args, { env: { PATH: root }, encoding: "utf8" });
  } finally {
    rmSync(root, { recursive: true });
  }
}

const ofVersion =
  (version: string) =>
  (path: string): void => {
    writeFileSync(path, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 });
  };

const ownNode = (path: string): void => {
  symlinkSync(process.execPath, path);
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
  const run = started(ownNode);
  expect(run).toMatchObject({ status: 0, stdout: "a,b c\n", stderr: "" });
});

test.for(["command", "service"] as const)(
  "no %s writes a core file, even if its caller may",
  (kind, { skip }) => {
    const program = `import { readFileSync } from "node:fs";
    console.log(/^Max core file size +(\\S+ +\\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))[1]);`;
    const first = 'ulimit -S -c "$(ulimit -H -c)"; ulimit -S -c >&2';
    const run = started(ownNode, { kind, program, first });
    if (run.stderr === "0\n") skip("core files are forbidden on this machine, by a hard limit");
    expect(run).toMatchObject({ status: 0, stdout: expect.stringMatching(/^0 +0\n$/) });
  },
);

test("the oldest Node that is promised is the one that end-to-end tests run on", () => {
  const text = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const tested = spawnSync(join(import.meta.dirname, "../../node_modules/node-22/bin/node"), ["--version"]);
  const [, oldest = ""] = /^v(\d+\.\d+)\.\d+\n$/.exec(tested.stdout.toString()) ?? [];
  for (const path of ["packaging/launcher.ts", "qubes-rpc/install", "README.md", "docs/install.md"])
    expect(text(path), path).toMatch(new RegExp(`\\b${oldest} or later`));
  expect(text("packaging/bundle.ts")).toContain(`target: "node${oldest}"`);
  expect(JSON.parse(text("package.json"))).toMatchObject({ engines: { node: `>=${oldest}` } });
});

test("no Node at all", () => {
  const run = started(() => undefined);
  expect(run).toMatchObject({ status: 127, stdout: "" });
  expect(run.stderr).toContain("Node.js not found");
});
