// status shows the sessions that the archive has, as far as dom0 has seen it: not those that a repair has removed, another
// host has deleted, or a rollback that was accepted has forgotten.

import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const [a, b] = ["a.img", "b.img"] as const;

function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}

async function newSite(): Promise<Site> {
  const site = await makeSite({
    volumes: [a, b],
    driveBytes: 128 * mib,
    settings: ["chunk-size = 64K"],
    local: true,
  });
  for (const [seed, name] of [a, b].entries())
    makeImage(site.image(name), { size: 2 * mib, dataBytes: mib, seed });
  return site;
}

/** Changes a volume and sends it; gives the session. */
async function send(site: Site, volume: string, seed: number): Promise<string> {
  changeImage(site.image(volume), mib / 4, seed, 2 * mib);
  const ended = must(await site.sparsebak(["-u", "send", volume]));
  return /S_[\d-]+/.exec(ended.stdout)?.[0] ?? "";
}

/** The last session of each volume, by status; null: none. */
async function shown(site: Site): Promise<Readonly<Record<string, string | null>>> {
  const ended = must(await site.sparsebak(["--json", "status"]));
  const lines = ended.stdout.trim().split("\n");
  const found = lines.map((line) => JSON.parse(line) as { volume: string; last?: { name: string } | null });
  return Object.fromEntries(found.map(({ volume, last }) => [volume, last?.name ?? null]));
}

/** Damages the first chunk that a session has stored. */
function rot(site: Site, volume: string, session: string): void {
  const directory = join(site.volumeDirectory(volume), session);
  const chunk = readdirSync(directory, { recursive: true, encoding: "utf8" }).find((path) =>
    /\/x[0-9a-f]{16}$/.test(path),
  );
  const path = join(directory, chunk ?? "");
  writeFileSync(
    path,
    readFileSync(path).map((byte) => byte ^ 1),
  );
}

test("a repair that removes the newest session, and all of a volume", async () => {
  await using site = await newSite();
  const older = await send(site, a, 10);
  const newer = await send(site, a, 11);
  const only = await send(site, b, 12);
  expect(await shown(site)).toEqual({ [a]: newer, [b]: only });
  rot(site, a, newer);
  rot(site, b, only);
  for (const each of [a, b]) makeImage(site.image(each), { size: 2 * mib, dataBytes: mib, seed: 20 });
  const repaired = await site.sparsebak(["-u", "check", "--repair", "--yes"]);
  expect(repaired.stdout).toMatch(/^a\.img: 1 session removed, 1 stay$/m);
  expect(await shown(site)).toEqual({ [a]: older, [b]: null });
  const again = await send(site, b, 21);
  expect(await shown(site)).toEqual({ [a]: older, [b]: again });
});

test("a rollback that is accepted, by a command that only reads", async () => {
  await using site = await newSite();
  const older = await send(site, a, 30);
  const aside = join(site.directory, "aside");
  cpSync(site.archive, aside, { recursive: true });
  const newer = await send(site, a, 31);
  const only = await send(site, b, 32);
  rmSync(site.archive, { recursive: true });
  cpSync(aside, site.archive, { recursive: true });
  expect(await site.sparsebak(["list"])).toMatchObject({ code: 5 });
  expect(await shown(site)).toEqual({ [a]: newer, [b]: only });
  must(await site.sparsebak(["--accept-rollback", "list"]));
  expect(await shown(site)).toEqual({ [a]: older, [b]: null });
});

test("--dest: one destination's, or all of them", async () => {
  await using site = await newSite();
  const ini = readFileSync(site.ini, "utf8");
  const place = `destvm = none\ndestmountpoint = ${site.drive}\nencryption = off\n`;
  writeFileSync(site.ini, `${ini}[archive usb]\ndestdir = usb\n${place}`);
  must(await site.sparsebak(["-u", "--dest", "all", "send", a]));
  must(await site.sparsebak(["-u", "--dest", "usb", "send", b]));
  const of = async (...args: string[]): Promise<readonly string[]> =>
    must(await site.sparsebak(["status", ...args])).stdout.match(/^\S+(?: \(\w+\))?: (?:S_|no)/gm) ?? [];
  const [inDefault, onlyUsb] = [[`${a} (default): S_`], [`${a} (usb): S_`, `${b} (usb): S_`]];
  expect(await of("--dest", "default")).toEqual([...inDefault, `${b}: no`]);
  expect(await of("--dest", "usb")).toEqual(onlyUsb);
  expect(await of("--dest", "all")).toEqual([...inDefault, ...onlyUsb]);
  expect(await of()).toEqual([...inDefault, ...onlyUsb]);
});

test("what another host has sent and deleted", async () => {
  await using site = await newSite();
  for (const [seed, each] of [a, b].entries()) await send(site, each, 40 + seed);
  const other = join(site.directory, "dom0-other");
  cpSync(site.state, other, { recursive: true });
  const ini = join(other, "sparsebak.ini");
  changeImage(site.image(a), mib / 4, 42, 2 * mib);
  const sent = must(await site.sparsebak(["-u", "send", a], { ini }));
  must(await site.sparsebak(["-u", "delete", "--yes", b], { ini }));
  must(await site.sparsebak(["list"]));
  expect(await shown(site)).toEqual({ [a]: /S_[\d-]+/.exec(sent.stdout)?.[0], [b]: null });
});
