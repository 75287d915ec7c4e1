// Interrupted sends go on (design section 5): what the receiver has of a session that was cut short is not sent again,
// whatever the volume is by then, and nobody sees it but prune. Killed with SIGKILL: the agent, the receiver, both.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { leftovers, makeSite, sha256Of, type Site } from "../support/site.ts";

const kib = 1024;
const mib = 1024 * kib;
const size = 20 * mib + 777;
const [volume, other] = ["work.img", "other.img"] as const;

interface Sent {
  readonly type: string;
  readonly volume: string;
  readonly kind: string;
  readonly session: string;
  readonly chunks: number;
  readonly reused: number;
}

type Form = readonly string[];
type Who = "agent" | "receiver" | "both";

/** What the agent and the receiver do while chunks go out. */
const counted = {
  agent: { from: "journal-", until: "intent" },
  receiver: { from: "x0[0-9a-f]*$|/tar$", until: "manifest|header" },
} as const;

/** Things that they do then in a whole first send. */
interface Steps {
  readonly agent: number;
  readonly receiver: number;
  /** Chunks that are stored. */
  readonly chunks: number;
}

async function makeResumable(form: Form): Promise<{ readonly site: Site; readonly steps: Steps }> {
  const settings = ["chunk-size = 64K"];
  const site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, settings });
  makeImage(site.image(volume), { size, dataBytes: 14 * mib, seed: 21 });
  const [agentCount, receiverCount] = [join(site.directory, "agent"), join(site.directory, "receiver")];
  site.killReceiverAt(undefined, receiverCount, counted.receiver);
  const counting = { countInto: agentCount, counted: counted.agent };
  const ended = await site.sparsebak(["-u", "--json", "send", ...form], counting);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  const { chunks } = volumeLine(ended.stdout);
  const count = (path: string): number => Number(readFileSync(path, "utf8"));
  startAnew(site);
  return { site, steps: { agent: count(agentCount), receiver: count(receiverCount), chunks } };
}

function startAnew(site: Site): void {
  site.killReceiverAt(undefined);
  rmSync(site.archive, { recursive: true, force: true });
  rmSync(join(site.state, "archives"), { recursive: true, force: true });
}

function volumeLine(stdout: string, name: string = volume): Sent {
  const lines = stdout.trim().split("\n");
  const found = lines
    .map((line) => JSON.parse(line) as Sent)
    .find((each) => each.type === "volume" && each.volume === name);
  if (found === undefined) throw new Error(`no line for ${name} in ${stdout}`);
  return found;
}

async function send(site: Site, form: Form, name: string = volume): Promise<Sent> {
  const ended = await site.sparsebak(["-u", "--json", "send", ...form, name]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return volumeLine(ended.stdout, name);
}

/** A send that is killed after `share` of what a first send does while chunks go out. */
async function interrupt(site: Site, form: Form, who: Who, steps: Steps, share: number): Promise<void> {
  const at = (all: number): number => Math.floor(all * share);
  if (who !== "agent") site.killReceiverAt(at(steps.receiver), undefined, counted.receiver);
  const killAt = who === "receiver" ? {} : { killAt: at(steps.agent), counted: counted.agent };
  const ended = await site.sparsebak(["-u", "send", ...form, volume], killAt);
  expect(ended.code, ended.stderr).not.toBe(0);
  site.killReceiverAt(undefined);
  // A receiver whose agent is gone still stores what is in the pipe, and holds the archive until then.
  const lock = join(site.archive, "lock");
  expect(spawnSync("flock", ["--wait", "60", lock, "true"]).status, "the archive stays locked").toBe(0);
}

/** Chunks that lie in all sessions, finished or not, as anybody can count them. */
function chunksLeft(site: Site): number {
  const count =
    "for tar in *.tar *.tar.part/tar; do tar -tf $tar 2>/dev/null | grep /x0; done; find . -name 'x0*'";
  const done = spawnSync("sh", ["-c", count], { cwd: join(site.archive, volume), encoding: "utf8" });
  return done.stdout.split("\n").filter(Boolean).length;
}

async function sessionsOf(site: Site): Promise<string[]> {
  const listed = await site.sparsebak(["--json", "list", volume]);
  expect(listed, listed.stderr).toMatchObject({ code: 0 });
  const lines = listed.stdout.trim().split("\n");
  return lines.flatMap((line) => {
    const { type, name } = JSON.parse(line) as { type: string; name: string };
    return type === "session" ? [name] : [];
  });
}

/** Everything is as it should be: these sessions, no others, and nothing unfinished on either side. */
async function allRight(site: Site, digests: ReadonlyMap<string, string>): Promise<void> {
  expect(await sessionsOf(site)).toEqual([...digests.keys()]);
  for (const [session, digest] of digests)
    expect(await site.assembled(volume, session), session).toBe(digest);
  expect(leftovers(site.archive)).toEqual([]);
  const stray = readdirSync(join(site.state, "archives", "default"), { recursive: true }).map(String);
  expect(
    stray.filter((name) => /pending|sending|intent|entries|fresh|journal|salvaged|\.new$/.test(name)),
  ).toEqual([]);
}

describe("killed again and again, the next send sends the rest", () => {
  test.each([
    ["agent", "directory", []],
    ["receiver", "directory", []],
    ["both", "directory", []],
    ["agent", "tar", ["--tarfile"]],
    ["receiver", "tar", ["--tarfile"]],
    ["both", "tar", ["--tarfile"]],
  ] as const)("%s killed, %s form", async (who, _, form) => {
    const { site, steps } = await makeResumable(form);
    await using _site = site;
    // After 30, 60 and 90 % of it.
    for (const done of [0.3, 0.6, 0.9]) {
      await interrupt(site, form, who, steps, 0.3);
      expect(chunksLeft(site)).toBeGreaterThan(steps.chunks * done * 0.4);
    }
    const left = chunksLeft(site);
    const first = await send(site, form);
    expect(first.kind).toBe("full");
    expect(first.chunks + first.reused).toBe(steps.chunks);
    // The last chunk before each kill may be torn.
    expect(first.reused).toBeLessThanOrEqual(left);
    expect(first.reused).toBeGreaterThanOrEqual(left - 3);
    const digests = new Map([[first.session, sha256Of(site.image(volume))]]);

    // An increment in which everything is new, of a volume that changes again before it goes on.
    makeImage(site.image(volume), { size, dataBytes: 14 * mib, seed: 22 });
    await interrupt(site, form, who, steps, 0.6);
    changeImage(site.image(volume), 256 * kib, 30, size);
    const second = await send(site, form);
    expect(second.reused).toBeGreaterThan(steps.chunks / 4);
    digests.set(second.session, sha256Of(site.image(volume)));
    // Of what was salvaged nothing is sent again later on.
    truncateSync(site.image(volume), size + mib);
    const third = await send(site, form);
    expect(third.chunks).toBeLessThanOrEqual(1);
    digests.set(third.session, sha256Of(site.image(volume)));
    await allRight(site, digests);
  });
});

test("a sealed archive goes on as well", async () => {
  const settings = ["chunk-size = 64K"];
  await using site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, settings, sealed: true });
  makeImage(site.image(volume), { size, dataBytes: 6 * mib, seed: 26 });
  const killed = await site.sparsebak(["-u", "send", volume], { killAt: 12, counted: counted.agent });
  expect(killed.signal, killed.stderr).toBe("SIGKILL");
  const first = await send(site, []);
  expect(first.reused).toBeGreaterThan(0);
  await allRight(site, new Map([[first.session, sha256Of(site.image(volume))]]));
});

test("the volume has shrunk, is as it was, or is gone: what is of no use is removed", async () => {
  const { site, steps } = await makeResumable([]);
  await using _site = site;
  await interrupt(site, [], "agent", steps, 0.6);
  truncateSync(site.image(volume), 3 * mib + 5);
  const first = await send(site, []);
  expect(first.reused).toBeGreaterThan(0);
  const digests = new Map([[first.session, sha256Of(site.image(volume))]]);
  await allRight(site, digests);

  const before = readFileSync(site.image(volume));
  makeImage(site.image(volume), { size, dataBytes: 14 * mib, seed: 23 });
  await interrupt(site, [], "receiver", steps, 0.6);
  expect(chunksLeft(site)).toBeGreaterThan(0);
  writeFileSync(site.image(volume), before);
  expect(await send(site, [])).toMatchObject({ kind: "unchanged" });
  await allRight(site, digests);

  makeImage(site.image(volume), { size, dataBytes: 14 * mib, seed: 23 });
  await interrupt(site, [], "agent", steps, 0.6);
  rmSync(site.image(volume));
  makeImage(site.image(other), { size: mib, dataBytes: mib / 2, seed: 24 });
  await send(site, [], other);
  await allRight(site, digests);
});

test("without its journal, or with a damaged one, what was sent is sent again, and is right", async () => {
  const { site, steps } = await makeResumable([]);
  await using _site = site;
  await interrupt(site, [], "agent", steps, 0.6);
  const volumes = join(site.state, "archives", "default", "volumes");
  const journals = (): string[] =>
    readdirSync(volumes, { recursive: true })
      .map(String)
      .filter((name) => name.includes("journal-"))
      .map((name) => join(volumes, name));
  const [journal = ""] = journals();
  // Torn in the middle of a record: what comes before it counts.
  truncateSync(journal, 88 + 80 * 20 + 33);
  const first = await send(site, []);
  expect(first.reused).toBe(20);
  const digests = new Map([[first.session, sha256Of(site.image(volume))]]);
  await allRight(site, digests);

  makeImage(site.image(volume), { size, dataBytes: 14 * mib, seed: 25 });
  await interrupt(site, [], "agent", steps, 0.6);
  for (const each of journals()) rmSync(each);
  const second = await send(site, []);
  expect(second.reused).toBe(0);
  digests.set(second.session, sha256Of(site.image(volume)));
  await allRight(site, digests);
});

test("what is left and of no use is removed once, whether the volume has changed or not", async () => {
  const settings = ["chunk-size = 64K"];
  await using site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, settings });
  makeImage(site.image(volume), { size: 8 * mib, dataBytes: mib, seed: 27 });
  const first = await send(site, []);
  const before = readFileSync(site.image(volume));
  const digests = new Map([[first.session, sha256Of(site.image(volume))]]);
  for (const kind of ["unchanged", "compared"]) {
    makeImage(site.image(volume), { size: 8 * mib, dataBytes: 6 * mib, seed: 28 });
    const killed = await site.sparsebak(["-u", "send", volume], { killAt: 12, counted: counted.agent });
    expect(killed.signal, killed.stderr).toBe("SIGKILL");
    const volumes = join(site.state, "archives", "default", "volumes");
    const journal = readdirSync(volumes, { recursive: true })
      .map(String)
      .find((name) => name.includes("journal-"));
    // Its head, and no record.
    truncateSync(join(volumes, journal ?? ""), 92);
    if (kind === "unchanged") writeFileSync(site.image(volume), before);
    const ended = await site.sparsebak(["-u", "--json", "send", volume]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stdout + ended.stderr).not.toMatch(/missing|"type":"warning"/);
    expect(volumeLine(ended.stdout)).toMatchObject({ kind });
    if (kind !== "unchanged") digests.set(volumeLine(ended.stdout).session, sha256Of(site.image(volume)));
    await allRight(site, digests);
  }
});
