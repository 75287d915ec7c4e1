// Deduplication: a chunk that the volume's group has is not stored again, and every session assembles. dom0 decides
// from its own index, which is made again from the archive when it is lost, damaged or of another state.

import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { leftovers, makeSite, sha256Of, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const size = 24 * mib + 4096;
const [template, clone, other] = ["vm-debian-root", "vm-clone-root", "work.img"] as const;

interface Sent {
  readonly volume: string;
  readonly session: string;
  readonly storedBytes: number;
  readonly chunks: number;
  readonly reused: number;
}

async function send(site: Site, ...args: string[]): Promise<ReadonlyMap<string, Sent>> {
  const ended = await site.sparsebak(["-u", "--json", "send", ...args]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  const lines = ended.stdout.trim().split("\n");
  const sent = lines.map((line) => JSON.parse(line) as Sent & { type: string });
  return new Map(sent.flatMap((each) => (each.type === "volume" ? [[each.volume, each]] : [])));
}

/** A template, a clone of it with a few changes, and the template's content under a name that shares with nobody. */
async function makeClones(options: { readonly settings?: readonly string[] } = {}): Promise<Site> {
  const site = await makeSite({ volumes: [template, clone, other], local: true, ...options });
  makeImage(site.image(template), { size, dataBytes: 8 * mib, seed: 12 });
  copyFileSync(site.image(template), site.image(clone));
  copyFileSync(site.image(template), site.image(other));
  changeImage(site.image(clone), 128 * 1024, 13, size);
  return site;
}

function groupDirectories(site: Site): string[] {
  const groups = join(site.state, "archives", "default", "indexes");
  return readdirSync(groups).map((name) => join(groups, name));
}

describe.each([
  ["directory", []],
  ["tar", ["--tarfile"]],
] as const)("%s form", (_, form) => {
  test("a clone costs what it has changed, another volume costs all; each session assembles", async () => {
    await using site = await makeClones();
    const first = await send(site, ...form);
    const whole = first.get(template)?.storedBytes ?? 0;
    expect(whole).toBeGreaterThan(2 * mib);
    expect(first.get(clone)?.storedBytes).toBeLessThan(whole / 4);
    expect(first.get(clone)?.reused).toBeGreaterThan(30);
    expect(first.get(other)?.storedBytes).toBe(whole);
    const digests = new Map<string, string>();
    const note = (sent: ReadonlyMap<string, Sent>): void => {
      for (const [volume, { session }] of sent)
        if (session !== undefined) digests.set(`${volume} ${session}`, sha256Of(site.image(volume)));
    };
    note(first);

    // The clone takes over all of the template: everything is there.
    changeImage(site.image(template), mib, 14, size);
    const second = await send(site, ...form, template);
    copyFileSync(site.image(template), site.image(clone));
    const third = await send(site, ...form, clone);
    expect(third.get(clone)).toMatchObject({ chunks: 0, storedBytes: 0 });
    note(new Map([...second, ...third]));
    for (const [key, digest] of digests) {
      const [volume = "", session] = key.split(" ");
      expect(await site.assembled(volume, session), key).toBe(digest);
    }
    expect(leftovers(site.archive)).toEqual([]);

    // The template goes; what the clone refers to stays, and is still there for the next one.
    const deleted = await site.sparsebak(["-u", "delete", template, "--yes"]);
    expect(deleted, deleted.stderr).toMatchObject({ code: 0 });
    for (const [key, digest] of digests) {
      const [volume = "", session] = key.split(" ");
      if (volume !== template) expect(await site.assembled(volume, session), key).toBe(digest);
    }
    copyFileSync(site.image(clone), site.image(template));
    expect((await send(site, ...form, template)).get(template)).toMatchObject({ kind: "full", chunks: 0 });
    const pruned = await site.sparsebak(["-u", "prune", clone, "--keep-last", "1"]);
    expect(pruned, pruned.stderr).toMatchObject({ code: 0 });
    changeImage(site.image(clone), mib, 18, size);
    copyFileSync(site.image(clone), site.image(template));
    const last = await send(site, ...form, clone, template);
    expect(last.get(clone)?.chunks).toBeGreaterThan(0);
    expect(last.get(template)).toMatchObject({ chunks: 0 });
    for (const volume of [clone, template])
      expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  });
});

test("equal chunks of one volume are stored once, also a short one at the end", async () => {
  await using site = await makeSite({ volumes: [other], local: true, settings: ["chunk-size = 64K"] });
  const piece = Buffer.alloc(64 * 1024);
  for (let i = 0; i < piece.length; i += 4) piece.writeUInt32BE((i * 2_654_435_761) % 2 ** 32, i);
  const short = piece.subarray(0, 1000);
  // Far apart and side by side: some are in the same job of a worker, some are on their way at the same time.
  writeFileSync(site.image(other), Buffer.concat([...Array.from({ length: 100 }, () => piece), short]));
  const first = await send(site);
  expect(first.get(other)).toMatchObject({ chunks: 2, reused: 99 });
  expect(await site.assembled(other)).toBe(sha256Of(site.image(other)));
  appendFileSync(site.image(other), Buffer.concat([piece, short]));
  const grown = readFileSync(site.image(other));
  const second = await send(site);
  expect(second.get(other)?.chunks).toBeLessThanOrEqual(3);
  expect(await site.assembled(other)).toBe(sha256Of(site.image(other)));
  // Content that was there in an earlier session only.
  writeFileSync(site.image(other), grown.fill(7, 0, 65_536));
  await send(site);
  writeFileSync(site.image(other), grown.fill(piece, 0, 65_536));
  expect((await send(site)).get(other)).toMatchObject({ chunks: 0, reused: 1 });
  expect(await site.assembled(other)).toBe(sha256Of(site.image(other)));
});

test("groups of the settings; a volume stays in the group of its first session", async () => {
  await using site = await makeClones();
  appendFileSync(site.ini, `[groups]\nroots =\nmine = work.* vm-clone-*\n`);
  const first = await send(site);
  const whole = first.get(template)?.storedBytes ?? 0;
  expect(first.get(clone)?.storedBytes).toBeGreaterThan(whole / 2);
  expect(first.get(other)?.storedBytes).toBeLessThan(whole / 4);
  writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace(/\[groups\][^]*/, ""));
  changeImage(site.image(other), mib, 15, size);
  await send(site, other);
  copyFileSync(site.image(other), site.image(clone));
  expect((await send(site, clone)).get(clone)).toMatchObject({ chunks: 0 });
  for (const volume of [template, clone, other])
    expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
});

test("an index of chunks that is lost, damaged or of another state is made again; nothing is stored wrongly", async () => {
  await using site = await makeClones();
  let seed = 16;
  /** A new state of the template is sent; then something happens; then the clone is sent with the same content. */
  const around = async (happens: (table: string, stamp: string) => void): Promise<Sent | undefined> => {
    changeImage(site.image(template), mib, seed++, size);
    await send(site, template);
    copyFileSync(site.image(template), site.image(clone));
    const [group = ""] = groupDirectories(site);
    happens(join(group, "table"), join(group, "table-stamp"));
    const sent = (await send(site, clone)).get(clone);
    expect(await site.assembled(clone)).toBe(sha256Of(site.image(template)));
    return sent;
  };
  const spoil = (path: string): void => writeFileSync(path, readFileSync(path).fill(0x55, 40, 44));

  await send(site, template);
  const [group = ""] = groupDirectories(site);
  const older = join(site.directory, "older");
  cpSync(group, older, { recursive: true });
  expect(await around(() => cpSync(older, group, { recursive: true }))).toMatchObject({ chunks: 0 });
  expect(await around(() => rmSync(group, { recursive: true }))).toMatchObject({ chunks: 0 });
  expect(await around((_, stamp) => rmSync(stamp))).toMatchObject({ chunks: 0 });
  expect(await around((_, stamp) => spoil(stamp))).toMatchObject({ chunks: 0 });
  // A damaged page is noticed when it is met: what it had is stored once more, and the index is made again after it.
  expect((await around(spoil))?.reused).toBeGreaterThan(0);
  expect(await around(() => undefined)).toMatchObject({ chunks: 0 });
  expect(await site.assembled(template)).toBe(sha256Of(site.image(template)));
});
