// ./run demo, small: with what qubes-rpc/install installs of the built programs, and nothing mounted.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const demo = fileURLToPath(new URL("../../bench/demo.ts", import.meta.url));

test("the demo ends well, shows what it compared and what it cost, and leaves nothing", () => {
  const directory = mkdtempSync(join(tmpdir(), "demo-"));
  try {
    const { status, stdout, stderr } = spawnSync(process.execPath, [demo, "--scale", "32"], {
      env: { PATH: process.env["PATH"], TMPDIR: directory },
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining("error") });
    const compared = [...stdout.matchAll(/^ {3}SHA-256 ([0-9a-f]{64}): the same as the volume's$/gm)];
    expect(new Set(compared.map(([, digest]) => digest)).size).toBe(3);
    expect(stdout).toMatch(/^vm-demo-private\.img: 3 sessions, /m);
    const [, rows = ""] = stdout.split(/^ +read +sent +stored +time +rate\n/m);
    const [amount, time, rate] = [
      String.raw` +[\d.]+ MiB`,
      String.raw` +[\d.]+ s`,
      String.raw` +\d+ MiB/s\n`,
    ];
    const sent = `${amount.repeat(3)}${time}${rate}`;
    const assembled = `assemble${time}${rate}`;
    const jobs = ["first send", "second send", "send --tarfile"].map((job) => `${job}${sent}${assembled}`);
    expect(rows).toMatch(new RegExp(`^${jobs.join("")}$`));
    expect(readdirSync(directory)).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
