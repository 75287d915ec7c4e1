// Power cuts: the guest is reset in the middle of a monitor or a send and boots again from the same disks, several
// times over (power.ts).

import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { tempDir } from "../../support/temp-dir.ts";
import { projectRoot, runInGuest, tellOf } from "../lab.ts";
import type { Boot, Cut } from "./power.ts";

/** Cuts at random of each kind; a boot takes half a minute and more where the guest is emulated. */
const rounds = process.env["SPARSEBAK_LAB_LONG"] === undefined ? 1 : 25;
const mib = 1024 * 1024;

const atRandom = (): readonly Cut[] => [
  { command: "send", form: "dir", where: Math.random() },
  { command: "monitor", form: "dir", where: Math.random() },
  { command: "send", form: "tar", where: Math.random() },
];
const metadataHeld: Cut = { command: "monitor", form: "dir", where: "metadata held" };

test("the power is cut in the middle of sends and monitors: nothing is lost, and nothing left behind", async () => {
  using directory = tempDir();
  const diskFiles = [1024, 512, 128].map((size, i) => {
    const path = join(directory.path, `disk${i}`);
    writeFileSync(path, "");
    truncateSync(path, size * mib);
    return path;
  });
  const sessions: Record<string, string> = {};
  let atCut: string | undefined;
  const planned = [metadataHeld, ...Array.from({ length: rounds }, atRandom).flat()];
  for (let number = 0; number <= planned.length; number++) {
    const cut = planned[number];
    const boot: Boot = {
      number,
      sessions,
      ...(atCut === undefined ? {} : { atCut }),
      ...(cut === undefined ? {} : { cut }),
    };
    const result = await runInGuest({
      program: "test/lab/backup/power.ts",
      args: [JSON.stringify(boot)],
      diskFiles,
      env: { LAB_PROJECT: projectRoot },
      timeoutSeconds: 600,
    });
    for (const [, name = "", digest = ""] of result.stdout.matchAll(/^session (\S+) ([0-9a-f]{64})$/gm))
      sessions[name] = digest;
    const [, digest] = /^cut ([0-9a-f]{64})$/m.exec(result.stdout) ?? [];
    atCut = digest;
    const told = `boot ${number}, ${JSON.stringify(boot)}: ${tellOf(result)}`;
    if (cut === undefined) {
      expect(result.exitCode, told).toBe(0);
      expect(result.stdout, told).toMatch(/^done/m);
    } else {
      // The guest is gone without a word.
      expect(result.exitCode, told).toBe(125);
      expect(atCut, told).toBeDefined();
    }
  }
  expect(Object.keys(sessions).length).toBeGreaterThanOrEqual(planned.length + 1);
});
