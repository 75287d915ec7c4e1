// A receiver that is killed at a chosen thing that it does to the disk.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Service } from "../../protocol/wire/messages.ts";
import type { AgentClient } from "../support/agent-client.ts";
import type { ReceiverSite } from "./site.ts";

const killer = pathToFileURL(join(import.meta.dirname, "../support/kill-at.mjs")).href;

/** Starts a receiver that dies right before its n-th change of anything; 0: never, but the changes are counted. */
export function startMortal(site: ReceiverSite, service: Service, killAt: number): AgentClient {
  return site.start(service, {
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
