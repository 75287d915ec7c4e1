// The receiver as one file, as packaging/build.ts bundles it, for tests that start it again and again: it starts in a
// fraction of the time that the sources take.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { tempDir } from "./temp-dir.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let made: { readonly path: string } | undefined;

/** Path of the bundle, made once a test file; its worker stands beside it. */
export function builtReceiver(): string {
  if (made !== undefined) return made.path;
  const directory = tempDir();
  process.on("exit", () => directory[Symbol.dispose]());
  execFileSync(
    join(root, "node_modules/.bin/esbuild"),
    [
      "receiver=vm-receiver/service/main.ts",
      "open-worker=vm-receiver/assemble/worker.ts",
      "--bundle",
      "--platform=node",
      "--format=esm",
      "--target=node22.15",
      "--log-level=error",
      `--outdir=${directory.path}`,
      "--out-extension:.js=.mjs",
      "--banner:js=import { createRequire as cr } from 'node:module'; const require = cr(import.meta.url);",
    ],
    { cwd: root },
  );
  made = { path: join(directory.path, "receiver.mjs") };
  return made.path;
}
