// Restores killed with SIGKILL anywhere: the old bytes or the new ones, whole, and the next run succeeds.

import { copyFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { good, makeRestoreSite, type RestoreSite, strays, volume } from "../support/restore-site.ts";
import { sha256Of } from "../support/site.ts";

let site: RestoreSite;
beforeAll(async () => {
  site = await makeRestoreSite();
});
beforeEach(() => site.reset());
afterAll(async () => site[Symbol.asyncDispose]());

test("the agent, at every 8th thing that it does: the old image or the new one, whole; the next run succeeds", async () => {
  const image = site.image(volume);
  const saved = join(site.directory, "saved.img");
  copyFileSync(image, saved);
  const old = sha256Of(image);
  const count = join(site.directory, "count");
  const args = ["receive", volume, "--session", "first"];
  good(await site.sparsebak(args, { countInto: count }));
  const steps = Number(readFileSync(count, "utf8"));
  expect(steps).toBeGreaterThan(12);
  const from = 1 + Math.floor(Math.random() * 8);
  for (let n = from; n <= steps; n += 8) {
    copyFileSync(saved, image);
    const killed = await site.sparsebak(args, { killAt: n });
    expect(killed.signal, `step ${n} of ${steps}: ${killed.stderr}`).toBe("SIGKILL");
    expect([old, site.sessions[0].digest], `step ${n}`).toContain(sha256Of(image));
    good(await site.sparsebak(args));
    expect(sha256Of(image), `step ${n}`).toBe(site.sessions[0].digest);
    expect(strays(site), `step ${n}`).toEqual([]);
  }
});

test("to a file: nothing under the final name", async () => {
  const path = join(site.directory, "out.img");
  const args = ["receive", volume, "--save-to", path];
  const count = join(site.directory, "count");
  good(await site.sparsebak(args, { countInto: count }));
  rmSync(path);
  const steps = Number(readFileSync(count, "utf8"));
  for (const n of [steps - 4, steps - 2, steps - 1]) {
    const killed = await site.sparsebak(args, { killAt: n });
    expect(killed.signal).toBe("SIGKILL");
    if (!existsSync(path)) continue;
    expect(sha256Of(path)).toBe(site.sessions[2].digest);
    rmSync(path);
  }
  good(await site.sparsebak(args));
  expect(sha256Of(path)).toBe(site.sessions[2].digest);
});
