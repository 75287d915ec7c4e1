// What holds whatever a backup VM has said, and what is there once it is honest again.

import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { expect } from "vitest";
import { contentsOf, type Ended, type HostileSite, processesOf } from "./site.ts";

/** Bytes: the agent's bound of section 9 and what a Node takes by itself. */
const memoryBound = 400_000_000;

/** Files that are there to be locked, and hold nothing. */
export const locks: RegExp = /(?:lock|readers)$/;

/** It ended by itself, printed nothing that a terminal would obey, took no more memory than it may, left no process. */
export async function expectDecent(ended: Ended, site: HostileSite): Promise<void> {
  expect(ended.code, "it had to be killed").not.toBeNull();
  expect(ended.stderr + ended.stdout).not.toMatch(/[^\P{C}\n]|[\u2028\u2029]/u);
  expect(ended.stderr.length).toBeLessThan(20_000);
  expect(ended.peakBytes).toBeLessThan(memoryBound);
  // What was killed takes its moment to be gone.
  for (let left = 100; left > 0 && processesOf(site) !== ""; left--) await wait(100);
  expect(processesOf(site)).toBe("");
}

/** Names of the sessions that the archive has, as anybody sees them who looks at it. */
export function namesIn({ archive }: HostileSite): readonly string[] {
  const names = readdirSync(archive, { recursive: true, encoding: "utf8" });
  return names.map((path) => basename(path, ".tar")).filter((name) => /^S_\d{8}-\d{6}$/.test(name));
}

/** With an honest receiver the next send works, the volume is what the newest session has, and every session that there
 *  should be is what it was. */
export async function expectGoesOn(site: HostileSite): Promise<void> {
  await site.send();
  expect(site.isSent()).toBe(true);
  expect(await site.differing()).toEqual([]);
  expect(Object.keys(contentsOf(site.state)).filter((path) => /intent|fetched|salvaged/.test(path))).toEqual(
    [],
  );
}
