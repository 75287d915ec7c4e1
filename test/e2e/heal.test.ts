// Lost chunks are put back: a send stores anew what a volume still holds, the old sessions are made to refer to that,
// and a repair takes away what nothing can save and no more.

import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite, type Site } from "../support/site.ts";
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

/** The first session's chunk that the volume still holds `back` places before the last such one. */
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

describe.each(forms)("in $name", (form) => {
  test("a flipped chunk that the volume still holds: check, send, and every session is whole", async () => {
    await using site = await siteOf([work], form.sealed);
    const digests = await threeSessions(site, form);
    flip(livingChunk(site, digests, form.tar));
    const found = await site.sparsebak(["--json", "check"]);
    expect(found, found.stderr).toMatchObject({ code: 5 });
    expect(found.stdout).toMatch(/a send puts back/);
    const sent = linesOf(await run(site, "--json", "send", ...(form.tar ? ["--tarfile"] : [])));
    expect(sent).toContainEqual(expect.objectContaining({ type: "volume", chunks: 1 }));
    expect(sent).toContainEqual(expect.objectContaining({ type: "notice", healed: 1, stillLost: 0 }));
    await expectWhole(site, digests);
    expect(linesOf(await run(site, "--json", "send"))).toContainEqual(
      expect.objectContaining({ kind: "unchanged" }),
    );
  });
});
