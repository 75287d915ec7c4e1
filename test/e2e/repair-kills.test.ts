// A `check --repair` killed with SIGKILL at what it does to the outside, thing by thing: the agent, and the receiver. The
// next repair finishes, and what was not lost is there, each session as it was (docs/decisions/0010-check.md).

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite } from "../support/site.ts";
import { expectNoState, killBothSides, killSteps, type Prepared, savedSite } from "../support/site-kills.ts";
import { type Digests, expectSessions, listed, run, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const chunkBytes = 65_536;
const volume = "work.img";
const size = 2 * mib;
const repairing = ["check", "--repair", "--yes"] as const;

interface Sessions extends Prepared {
  readonly digests: Digests;
  /** Sessions that the damage does not touch. */
  readonly whole: readonly string[];
}

/** Four sessions; the first two need a chunk that is lost, the list of the third is damaged, and so is the index. */
async function damagedSite(local: boolean): Promise<Sessions> {
  const settings = ["chunk-size = 64K"];
  const site = await makeSite({ volumes: [volume], driveBytes: 64 * mib, local, settings });
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 70 });
  const digests: Digests = new Map();
  await send(site, digests);
  const [first = ""] = readdirSync(join(site.archive, volume)).filter((name) => name.startsWith("S_"));
  const group = join(site.archive, volume, first, "000000000");
  const [lost = ""] = readdirSync(group).sort();
  for (const i of [1, 2, 3]) {
    changeImage(site.image(volume), mib / 8, 70 + i, size);
    const image = readFileSync(site.image(volume));
    const at = Number(`0x${lost.slice(1)}`);
    // What the lost chunk held is another one's from the third session on.
    if (i === 2) writeFileSync(site.image(volume), image.fill(7, at, at + chunkBytes));
    await send(site, digests);
  }
  rmSync(join(group, lost));
  const sessions = [...digests.keys()];
  const flip = (path: string): void => {
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length / 2);
    writeFileSync(path, bytes.fill((bytes[at] ?? 0) ^ 1, at, at + 1));
  };
  flip(join(site.archive, volume, sessions[2]?.split(" ")[1] ?? "", "list"));
  const [index = ""] = readdirSync(join(site.archive, "copies", volume));
  flip(join(site.archive, volume, index));
  return { site, digests, whole: sessions.slice(2), reset: savedSite(site) };
}

/** What is whole restores at once; then a repair and a prune finish what was begun, and nothing is left of it. */
async function afterKill({ site, digests, whole }: Sessions, at: string): Promise<void> {
  const sessions = await listed(site);
  expect(sessions, at).toEqual(expect.arrayContaining([...whole]));
  for (const each of whole)
    expect(await site.assembled(volume, each.split(" ")[1]), `${at}: ${each}`).toBe(digests.get(each));
  await run(site, ...repairing);
  // Where all but the removal was done, there was nothing to repair, and the next prune removes.
  await run(site, "prune", "--keep-last", "9");
  await expectSessions(site, digests, whole);
  await run(site, "check", "--read-data");
  expectNoState(site, /intent|unfinished|prune/, at);
}

killBothSides({ steps: killSteps(40), prepare: damagedSite, command: repairing, afterKill });
