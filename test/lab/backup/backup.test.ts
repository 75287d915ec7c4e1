// The main job on real LVM thin volumes, in QEMU guests (design sections 5 and 7). Seeds of random runs are printed; a
// failed one is repeated with SPARSEBAK_SEED.

import { describe, expect, test } from "vitest";
import { projectRoot, runInGuest, tellOf } from "../lab.ts";

/** A guest is slow without hardware virtualization: by default a part of what could be done. With it, hours. */
const long = process.env["SPARSEBAK_LAB_LONG"] !== undefined;

async function guest(program: string, ...args: string[]): Promise<string> {
  const result = await runInGuest({
    program: `test/lab/backup/${program}.ts`,
    args,
    disks: ["3G", "1G"],
    env: { LAB_PROJECT: projectRoot },
    timeoutSeconds: long ? 6 * 3600 : 1500,
  });
  expect(result.exitCode, tellOf(result)).toBe(0);
  expect(result.stdout, tellOf(result)).toMatch(/^done/m);
  return result.stdout;
}

const fresh = Math.floor(Math.random() * 2 ** 31);
const seeds =
  process.env["SPARSEBAK_SEED"] === undefined ? [20_261_123, fresh] : [Number(process.env["SPARSEBAK_SEED"])];

describe("on real thin volumes", () => {
  test("three volumes, one of them of a running VM", async () => {
    const said = await guest("main-job", "64k");
    expect(said.match(/^ok assembled/gm)?.length).toBeGreaterThan(9);
  });

  test("sessions and volumes go, and get another name", async () => {
    const said = await guest("life");
    expect(said.match(/^ok (?:prune|rename|delete)$/gm)?.length).toBe(3);
  });

  test("two destinations from one pair of snapshots", async () => {
    const said = await guest("destinations");
    expect(said.match(/^ok send/gm)?.length).toBe(6);
  });

  test.each(seeds)("random steps, seed %i", async (seed) => {
    await guest("random", String(seed), long ? "200" : "20");
  });

  test.each([
    ["monitor", long ? 1 : 12],
    ["send", long ? 1 : 20],
  ])("%s killed at every %i-th thing that it does, from a random one on", async (command, stride) => {
    const said = await guest("kills", command, String(stride), String(fresh));
    expect(said.match(/^ok \d+$/gm)?.length).toBeGreaterThan(2);
  });
});
