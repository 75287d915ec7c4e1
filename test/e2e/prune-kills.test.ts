// A prune killed with SIGKILL at what it does to the outside, thing by thing: the agent, and the receiver. After each,
// every session that is listed assembles to what it was, and the next prune finishes (design section 7).

import { expect } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite } from "../support/site.ts";
import { expectNoState, killBothSides, killSteps, type Prepared, savedSite } from "../support/site-kills.ts";
import { type Digests, expectSessions, listed, run, send } from "../support/site-sessions.ts";
import { scrubbed } from "../support/scrubbed.ts";

const mib = 1024 * 1024;
const volume = "work.img";
const size = 2 * mib;
const pruning = ["-u", "prune", "--keep-last", "2"] as const;

interface Sessions extends Prepared {
  readonly digests: Digests;
  readonly kept: readonly string[];
}

/** A site with four sessions, one of them a tar, and its state and archive put aside, to begin again from each time. */
async function preparedSite(local: boolean): Promise<Sessions> {
  const settings = ["chunk-size = 64K"];
  const site = await makeSite({ volumes: [volume], driveBytes: 64 * mib, local, settings });
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 3 });
  const digests: Digests = new Map();
  for (const i of [0, 1, 2, 3]) {
    if (i > 0) changeImage(site.image(volume), mib / 8, 4 + i, size);
    await send(site, digests, ...(i === 1 ? ["--tarfile"] : []));
  }
  return { site, digests, kept: [...digests.keys()].slice(2), reset: savedSite(site) };
}

/** No scrub takes what is left for damage; all that is listed restores; then a prune finishes what was begun. */
async function afterKill({ site, digests, kept }: Sessions, at: string): Promise<void> {
  expect((await scrubbed(site.archive)).damage, at).toEqual([]);
  const sessions = await listed(site);
  expect([kept.length, digests.size], `${at}: ${sessions.join(", ")}`).toContain(sessions.length);
  for (const each of sessions)
    expect(await site.assembled(volume, each.split(" ")[1]), `${at}: ${each}`).toBe(digests.get(each));
  await run(site, ...pruning.slice(1));
  await expectSessions(site, digests, kept);
  expectNoState(site, /intent|unfinished|prune/, at);
}

killBothSides({ steps: killSteps(40), prepare: preparedSite, command: pruning, afterKill });
