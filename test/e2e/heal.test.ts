// Lost chunks are put back: a send stores anew what a volume still holds, the old sessions are made to refer to that,
// and a repair takes away what nothing can save and no more.

import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";
import { type Digests, linesOf, listed, run, send } from "../support/site-sessions.ts";

const chunk = 65_536;
const size = 2 * 1024 * 1024 + 4096;
const work = "work.img";

interface Form {
  readonly name: string;
  readonly sealed: boolean;
  readonly tar: boolean;
}
const forms: readonly Form[] = [
  { name: "directories", sealed: false, tar: false },
  { name: "tars, sealed", sealed: true, tar: true },
];

async function siteOf(volumes: readonly string[], sealed: boolean): Promise<Site> {
  return makeSite({
    volumes,
    local: true,
    sealed,
    driveBytes: 128 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
  });
}

/** Three sessions, the first of which holds most of what the others need. */
async function threeSessions(site: Site, { tar }: Pick<Form, "tar">): Promise<Digests> {
  const digests: Digests = new Map();
  makeImage(site.image(work), { size, dataBytes: 1024 * 1024, seed: 60 });
  for (const seed of [61, 62, 63]) {
    await send(site, digests, ...(tar ? ["--tarfile"] : []));
    if (seed < 63) changeImage(site.image(work), 2 * chunk, seed, size);
  }
  return digests;
}

/** The stored chunks of a session, in the order of their addresses: the file that they lie in, where, and how long. */
function storedIn(site: Site, volume: string, session: string): readonly Stored[] {
  const directory = join(site.volumeDirectory(volume), session);
  return readdirSync(directory)
    .filter((name) => /^[0-9a-f]{9}$/.test(name))
    .flatMap((group) => readdirSync(join(directory, group)).map((name) => join(directory, group, name)))
    .sort()
    .map((path) => ({ path, at: 0, length: statSync(path).size, address: addressIn(path) }));
}

interface Stored {
  readonly path: string;
  readonly at: number;
  readonly length: number;
  /** Of the volume. */
  readonly address: number;
}

const addressIn = (name: string): number => Number(`0x${name.slice(-16)}`);

/** The same of a tar: its members' headers name them. */
function storedInTar(site: Site, volume: string, session: string): readonly Stored[] {
  const path = join(site.volumeDirectory(volume), `${session}.tar`);
  const bytes = readFileSync(path);
  const found: Stored[] = [];
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0;) {
    const text = (from: number, to: number): string =>
      bytes.toString("latin1", at + from, at + to).replace(/\0.*$/s, "");
    const length = Number.parseInt(text(124, 136), 8);
    const name = text(0, 100);
    if (/\/x[0-9a-f]{16}$/.test(name)) found.push({ path, at: at + 512, length, address: addressIn(name) });
    at += 512 + Math.ceil(length / 512) * 512;
  }
  return found;
}

function flip({ path, at, length }: Stored): void {
  const bytes = readFileSync(path);
  const middle = at + Math.floor(length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 0x10;
  writeFileSync(path, bytes);
}

/** A chunk of the first session that all sessions need, and the volume still holds. */
function livingChunk(site: Site, digests: Digests, tar: boolean): Stored {
  const [first = ""] = [...digests.keys()];
  const [volume = "", session = ""] = first.split(" ");
  const stored = tar ? storedInTar(site, volume, session) : storedIn(site, volume, session);
  const later = [...digests.keys()].slice(1).flatMap((each) => {
    const name = each.split(" ")[1] ?? "";
    return tar ? storedInTar(site, volume, name) : storedIn(site, volume, name);
  });
  const found = stored.find(({ address }) => !later.some((each) => each.address === address));
  if (found === undefined) throw new Error("no chunk of the first session is in all of them");
  return found;
}

/** Every session that there was assembles to what it was, and a check finds nothing. */
async function expectWhole(site: Site, digests: Digests): Promise<void> {
  expect(await listed(site)).toEqual(expect.arrayContaining([...digests.keys()]));
  for (const [each, digest] of digests) {
    const [volume = "", session] = each.split(" ");
    expect(await site.assembled(volume, session), each).toBe(digest);
  }
  const ended = await site.sparsebak(["check", "--read-data"]);
  expect(ended, ended.stdout + ended.stderr).toMatchObject({ code: 0 });
}

/** Ends with that status. */
async function ends(site: Site, code: number, ...args: string[]): Promise<Ended> {
  const ended = await site.sparsebak(args);
  expect(ended, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code });
  return ended;
}

const healed = (chunks: number): unknown =>
  expect.objectContaining({ type: "notice", healed: chunks, stillLost: 0 });
const repaired = (volume: string, kept: number, removed: readonly string[] = []): unknown =>
  expect.objectContaining({ command: "repair", volume, kept, removed });

describe.each(forms)("in $name", (form) => {
  const sendArgs = ["--json", "send", ...(form.tar ? ["--tarfile"] : [])];

  test("a flipped chunk that the volume still holds: check, send, and every session is whole", async () => {
    await using site = await siteOf([work], form.sealed);
    const digests = await threeSessions(site, form);
    flip(livingChunk(site, digests, form.tar));
    const found = await ends(site, 5, "--json", "check");
    expect(found.stdout).toMatch(/a send puts back/);
    const sent = linesOf(await run(site, ...sendArgs));
    expect(sent).toContainEqual(expect.objectContaining({ type: "volume", chunks: 1 }));
    expect(sent).toContainEqual(healed(1));
    await expectWhole(site, digests);
    expect(linesOf(await run(site, ...sendArgs))).toContainEqual(
      expect.objectContaining({ kind: "unchanged" }),
    );
  });

  test("a repair alone, with the volume here: no session goes", async () => {
    await using site = await siteOf([work], form.sealed);
    const digests = await threeSessions(site, form);
    flip(livingChunk(site, digests, form.tar));
    const lines = linesOf(await ends(site, 0, "-u", "--json", "check", "--repair", "--yes"));
    expect(lines).toContainEqual(
      expect.objectContaining({ heldChunks: 1, heldBytes: chunk, holders: [work] }),
    );
    expect(lines).toContainEqual(repaired(work, 4));
    await expectWhole(site, digests);
  });

  test("a chunk that nothing holds any more: the sessions that need it go, and no others", async () => {
    await using site = await siteOf([work], form.sealed);
    const digests = await threeSessions(site, form);
    const [first = "", second = ""] = [...digests.keys()];
    const stored = livingChunk(site, digests, form.tar);
    writeFileSync(
      site.image(work),
      readFileSync(site.image(work)).fill(9, stored.address, stored.address + chunk),
    );
    await send(site, digests);
    flip(stored);
    await ends(site, 5, "check");
    await run(site, "send");
    const lines = linesOf(await ends(site, 0, "-u", "--json", "check", "--repair", "--yes"));
    const names = [...digests.keys()].slice(0, 3).map((each) => each.split(" ")[1] ?? "");
    expect(lines).toContainEqual(expect.objectContaining({ goneChunks: 1, goneBytes: chunk }));
    expect(lines).toContainEqual(expect.objectContaining({ volume: work, going: names }));
    expect(lines).toContainEqual(repaired(work, 1, names));
    for (const each of [first, second, `${work} ${names[2] ?? ""}`]) digests.delete(each);
    expect(await listed(site)).toEqual([...digests.keys()]);
    await expectWhole(site, digests);
  });
});

test("a chunk of the newest session alone that is missing: the volume is not unchanged", async () => {
  await using site = await siteOf([work], false);
  const digests = await threeSessions(site, { tar: false });
  const newest = [...digests.keys()].at(-1)?.split(" ")[1] ?? "";
  rmSync(storedIn(site, work, newest)[0]?.path ?? "");
  await ends(site, 5, "check");
  expect(linesOf(await run(site, "--json", "send"))).toContainEqual(healed(1));
  await expectWhole(site, digests);
});

test("a template and two clones are made whole by what one of them holds", async () => {
  const [template, ...clones] = ["vm-debian-root", "vm-one-root", "vm-two-root"] as const;
  await using site = await siteOf([template, ...clones], true);
  const digests: Digests = new Map();
  makeImage(site.image(template), { size, dataBytes: 1024 * 1024, seed: 64 });
  await send(site, digests, template);
  for (const [i, each] of clones.entries()) {
    writeFileSync(site.image(each), readFileSync(site.image(template)));
    changeImage(site.image(each), chunk, 65 + i, size);
  }
  await send(site, digests);
  const [first = ""] = [...digests.keys()];
  const stored = storedIn(site, template, first.split(" ")[1] ?? "");
  const [one, two] = [stored[2], stored[4]];
  if (one === undefined || two === undefined) throw new Error("too few chunks");
  flip(one);
  rmSync(two.path);
  const found = linesOf(await ends(site, 5, "--json", "check"));
  for (const each of [template, ...clones])
    expect(found).toContainEqual(expect.objectContaining({ volume: each, command: "check", ok: false }));
  // The template is on another machine by now, and one clone does not hold the chunks any more.
  rmSync(site.image(template));
  writeFileSync(site.image(clones[0]), readFileSync(site.image(clones[0])).fill(3, 0, 1024 * 1024));
  const sent = linesOf(await run(site, "--json", "send", ...clones));
  expect(sent).toContainEqual(healed(2));
  for (const each of clones) digests.set(`${each} ${sessionOf(sent, each)}`, sha256Of(site.image(each)));
  await expectWhole(site, digests);
});

test("a lost manifest as well: its session goes, and the others are made whole", async () => {
  await using site = await siteOf([work], false);
  const digests = await threeSessions(site, { tar: false });
  flip(livingChunk(site, digests, false));
  const newest = [...digests.keys()].at(-1) ?? "";
  const directory = join(site.volumeDirectory(work), newest.split(" ")[1] ?? "");
  rmSync(join(directory, readdirSync(directory).find((name) => name.startsWith("manifest.")) ?? ""));
  const lines = linesOf(await ends(site, 0, "-u", "--json", "check", "--repair", "--yes"));
  expect(lines).toContainEqual(repaired(work, 2, [newest.split(" ")[1] ?? ""]));
  digests.delete(newest);
  await expectWhole(site, digests);
});

test("what is damaged between two rounds of a repair is not removed without being asked about", async () => {
  await using site = await siteOf([work], false);
  const digests = await threeSessions(site, { tar: false });
  flip(livingChunk(site, digests, false));
  const newest = [...digests.keys()].at(-1) ?? "";
  const directory = join(site.volumeDirectory(work), newest.split(" ")[1] ?? "");
  rmSync(join(directory, readdirSync(directory).find((name) => name.startsWith("manifest.")) ?? ""));
  const reset = savedBy(site);
  const args = ["-u", "check", "--repair", "--yes"];
  // From the first round's removal on, to the connection with which the second begins.
  const from = "^mkdirSync .*/prune$";
  const countInto = join(site.directory, "count");
  await site.sparsebak(args, { countInto, counted: { from, until: "^spawn" } });
  const killAt = Number(readFileSync(countInto, "utf8")) + 1;
  reset();
  let pid = 0;
  const counted = { from, until: "^never$" };
  const running = site.sparsebak(args, { killAt, stop: true, counted, onStart: (id) => (pid = id) });
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await sleep(20);
  const heads = join(site.archive, "heads");
  const older = Math.min(...readdirSync(heads).map(Number));
  writeFileSync(join(heads, String(older)), "rot");
  process.kill(pid, "SIGCONT");
  const ended = await running;
  expect(ended.stderr).toMatch(/not asked about; run check --repair again/);
  expect(ended).toMatchObject({ code: 5 });
  await ends(site, 0, ...args);
  digests.delete(newest);
  await expectWhole(site, digests);
});

/** A site with a lost chunk that the volume holds, to begin again from each time. */
async function damagedSite(): Promise<{ site: Site; digests: Digests; reset: () => void }> {
  const site = await siteOf([work], false);
  const digests = await threeSessions(site, { tar: false });
  flip(livingChunk(site, digests, false));
  await ends(site, 5, "check");
  return { site, digests, reset: savedBy(site) };
}

/** Saves archive and state as they are. Gives what brings them back. */
function savedBy(site: Site): () => void {
  const saved = join(site.directory, "saved");
  const [archives, savedArchives] = [join(site.state, "archives"), join(saved, "archives")];
  cpSync(site.archive, join(saved, "archive"), { recursive: true });
  cpSync(archives, savedArchives, { recursive: true });
  return () => {
    for (const each of [site.archive, archives]) rmSync(each, { recursive: true, force: true });
    cpSync(join(saved, "archive"), site.archive, { recursive: true });
    cpSync(savedArchives, archives, { recursive: true });
  };
}

/** Every so many-th step, from a random one on; 1 takes them all, which is many minutes. */
const stride = Number(process.env["SPARSEBAK_KILL_STRIDE"] ?? 40);
const from = 1 + Math.floor(Math.random() * stride);

test.each([
  { what: "a send that puts back", args: ["-u", "send"] },
  { what: "a repair", args: ["-u", "check", "--repair", "--yes"] },
])(
  `$what killed at every ${stride}th step from ${from} on: the next run finishes`,
  { timeout: 900_000 },
  async ({ args }) => {
    const { site, digests, reset } = await damagedSite();
    await using _site = site;
    const count = join(site.directory, "count");
    expect(await site.sparsebak(args, { countInto: count })).toMatchObject({ code: 0 });
    const steps = Number(readFileSync(count, "utf8"));
    expect(steps).toBeGreaterThan(100);
    for (let n = from; n <= steps; n += stride) {
      reset();
      expect((await site.sparsebak(args, { killAt: n })).signal).toBe("SIGKILL");
      await ends(site, 0, ...args);
      await expectWhole(site, digests);
    }
  },
);

test("what a send stored again is a copy, also when it was killed then and the volume is gone since", async () => {
  const { site, digests } = await damagedSite();
  await using _site = site;
  // Its prune's directory is the first thing that follows when the copies have been looked for.
  const counted = { from: "^mkdirSync .*/prune$", until: "^never$" };
  expect((await site.sparsebak(["-u", "send"], { killAt: 1, counted })).signal).toBe("SIGKILL");
  const image = readFileSync(site.image(work));
  rmSync(site.image(work));
  const sessions = await listed(site);
  expect(sessions).toHaveLength(digests.size + 1);
  const lines = linesOf(await ends(site, 0, "-u", "--json", "check", "--repair", "--yes"));
  expect(lines).toContainEqual(expect.objectContaining({ copiedChunks: 1, copiedBytes: chunk }));
  expect(lines).toContainEqual(repaired(work, sessions.length));
  writeFileSync(site.image(work), image);
  await expectWhole(site, digests);
});

function sessionOf(lines: readonly Readonly<Record<string, unknown>>[], volume: string): string {
  return String(lines.find((each) => each["type"] === "volume" && each["volume"] === volume)?.["session"]);
}
