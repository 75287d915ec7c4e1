// The receiver as one file, for tests that start it again and again: it starts in a fraction of the time that the sources
// take. And such a receiver that is killed at a chosen thing that it does to the disk.

import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Service } from "../../protocol/wire/messages.ts";
import type { AgentClient } from "../support/agent-client.ts";
import { tempDir } from "../support/temp-dir.ts";
import type { ReceiverSite } from "./site.ts";

let made: { readonly path: string } | undefined;

/** Path of the bundle, made once a test file. */
export function builtReceiver(): string {
  if (made !== undefined) return made.path;
  const directory = tempDir();
  const path = join(directory.path, "receiver.mjs");
  process.on("exit", () => directory[Symbol.dispose]());
  execFileSync(join("node_modules", ".bin", "esbuild"), [
    "vm-receiver/service/main.ts",
    "--bundle",
    "--platform=node",
    "--format=esm",
    "--target=node22.15",
    "--log-level=error",
    `--outfile=${path}`,
    "--banner:js=import { createRequire as cr } from 'node:module'; const require = cr(import.meta.url);",
  ]);
  made = { path };
  return path;
}

const killer = pathToFileURL(join(import.meta.dirname, "../support/kill-at.mjs")).href;

/** Starts a receiver that dies right before its n-th change of anything; 0: never, but the changes are counted. */
export function startMortal(site: ReceiverSite, service: Service, killAt: number): AgentClient {
  return site.start(service, {
    entry: builtReceiver(),
    environment: {
      NODE_OPTIONS: `--import=${killer}`,
      KILL_AT: String(killAt),
      KILL_COUNT: join(site.path, "count"),
    },
  });
}

/** How many changes the last receiver that was not killed has made. */
export function countedChanges(site: ReceiverSite): number {
  const path = join(site.path, "count");
  const count = Number(readFileSync(path, "utf8"));
  rmSync(path);
  return count;
}
