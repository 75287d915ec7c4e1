// Killed with SIGKILL at what they do to the outside, thing by thing: the agent, and the receiver. After each, the
// next run succeeds, every session assembles to what the volume was, and nothing unfinished is left (design section 5).

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { leftovers, makeSite, sha256Of, type Site } from "../support/site.ts";
import {
  expectNoState,
  killAgent,
  killBothSides,
  killSteps,
  type Prepared,
  savedSite,
} from "../support/site-kills.ts";
import { scrubbed } from "../support/scrubbed.ts";

const steps = killSteps(8);
const { stride, from } = steps;
const mib = 1024 * 1024;
const volume = "work.img";
const size = 8 * mib;

interface WithSession extends Prepared {
  /** What the session holds. */
  readonly first: string;
}

/** A site with one session, and its state and archive put aside, to begin again from for each kill. */
async function preparedSite(local: boolean): Promise<WithSession> {
  const site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, local });
  makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: 3 });
  const first = sha256Of(site.image(volume));
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  changeImage(site.image(volume), mib, 4, size);
  return { site, first, reset: savedSite(site) };
}

/** What the archive lists. What was salvaged of a killed send stays as chunks that sessions refer to, and is no session. */
async function sessionsOf(site: Site): Promise<string[]> {
  const listed = await site.sparsebak(["--json", "list", volume]);
  expect(listed, listed.stderr).toMatchObject({ code: 0 });
  return listed.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly type: string; readonly name: string })
    .flatMap((line) => (line.type === "session" ? [line.name] : []));
}

/** No scrub takes what is left for damage; the next run succeeds and everything is as it should be. */
async function afterKill({ site, first }: WithSession, at: string): Promise<void> {
  expect((await scrubbed(site.archive)).damage, at).toEqual([]);
  const ended = await site.sparsebak(["-u", "send"]);
  expect(ended, `${at}: the next send: ${ended.stderr}`).toMatchObject({ code: 0 });
  const sessions = await sessionsOf(site);
  expect(sessions.length, `${at}: ${sessions.join(" ")}`).toBe(2);
  expect(await site.assembled(volume, sessions[0]), at).toBe(first);
  expect(await site.assembled(volume), at).toBe(sha256Of(site.image(volume)));
  expect(leftovers(site.archive), at).toEqual([]);
  expectNoState(site, /pending|sending|intent|entries|fresh|journal|salvaged|\.new$/, at);
}

describe.each([
  ["directory", []],
  ["tar", ["--tarfile"]],
] as const)("a send into a %s", (_, options) => {
  killBothSides({ steps, prepare: preparedSite, command: ["-u", "send", ...options], afterKill });
});

/** A site that has never sent, which it is again for each kill. */
async function newSite(local: boolean): Promise<Prepared> {
  const site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, local });
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 3 });
  const reset = (): void => {
    rmSync(site.archive, { recursive: true, force: true });
    rmSync(join(site.state, "archives"), { recursive: true, force: true });
    rmSync(join(site.state, "owner"), { force: true });
  };
  return { site, reset };
}

async function afterFirstSend({ site }: Prepared, at: string): Promise<void> {
  const ended = await site.sparsebak(["-u", "send"]);
  expect(ended, `${at}: ${ended.stderr}`).toMatchObject({ code: 0 });
  expect(existsSync(join(site.archive, "heads"))).toBe(true);
  expect(await site.assembled(volume), at).toBe(sha256Of(site.image(volume)));
  expect(leftovers(site.archive)).toEqual([]);
}

test(
  `the first send killed at every ${stride}th step from ${from} on: the archive is made by the next one`,
  { timeout: 900_000 },
  async () => {
    await killAgent({ steps, prepare: newSite, command: ["-u", "send"], afterKill: afterFirstSend });
  },
);
