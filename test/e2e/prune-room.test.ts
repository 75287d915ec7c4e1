// What a prune says of the room that it makes: what comes free, what waits in the trash or is stuck in a tar, and that the
// sessions are gone though the room could not be had.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { makeSite, type Site, type SiteOptions } from "../support/site.ts";
import { type Digests, expectSessions, linesOf, listed, run, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const size = 2 * mib;
const volume = "work.img";

async function newSite(options: Partial<SiteOptions> = {}): Promise<Site> {
  const settings = ["chunk-size = 64K", ...(options.settings ?? [])];
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 64 * mib,
    local: true,
    ...options,
    settings,
  });
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 70 });
  return site;
}

let seed = 71;
async function changeAndSend(site: Site, digests: Digests, ...args: string[]): Promise<string> {
  changeImage(site.image(volume), mib / 2, seed++, size);
  return (await send(site, digests, ...args))[0] ?? "";
}

/** Has the receiver keep what is removed. */
function keepTrash(site: Site): void {
  const path = join(site.directory, "receiver.ini");
  writeFileSync(path, "[receiver]\ntrash-days = 30\n");
  const ini = readFileSync(site.ini, "utf8");
  writeFileSync(site.ini, ini.replace("[volumes]", `receiver-settings = ${path}\n[volumes]`));
}

test("what waits in the trash does not come free; where the trash is damaged the sessions are gone all the same", async () => {
  await using site = await newSite();
  keepTrash(site);
  const digests: Digests = new Map();
  const names: string[] = [];
  for (let i = 0; i < 4; i++) names.push(await changeAndSend(site, digests));
  const [first = "", second = "", ...rest] = names;
  const waiting = await run(site, "prune", "--session", first);
  expect(waiting.stdout).toMatch(
    /^work\.img: 1 of 4 sessions removed, [1-9].* of stored data come free when the trash time is over$/m,
  );
  expect(waiting.stdout).toMatch(/^default: 0 B given back to the file system/m);

  const trash = join(site.archive, "dead");
  const [list = ""] = readdirSync(trash);
  const bytes = readFileSync(join(trash, list));
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(join(trash, list), bytes);
  const ended = await site.sparsebak(["-u", "prune", "--session", second]);
  expect(ended.stdout).toMatch(/^work\.img: 1 of 3 sessions removed/m);
  expect(ended.stderr).toMatch(
    /^sparsebak: warning: default: what was removed comes free only with the next prune: .*dead list/,
  );
  expect(ended).toMatchObject({ code: 5 });
  expect(await listed(site)).toEqual(rest.map((each) => `${volume} ${each}`));

  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(join(trash, list), bytes);
  const deleted = await run(site, "delete", "--yes", volume);
  expect(deleted.stderr).toContain("what was deleted comes free when the destination's trash time is over");
});

test("a receiver that dies while it makes room: what was removed is said, and the next prune makes it", async () => {
  await using site = await newSite({ local: false });
  const digests: Digests = new Map();
  const names: string[] = [];
  for (let i = 0; i < 3; i++) names.push(await changeAndSend(site, digests));
  site.killReceiverAt(1, undefined, { from: "^unlinkSync .*/x[0-9a-f]{16}$", until: "^never$" });
  const ended = await site.sparsebak(["-u", "prune", "--keep-last", "1"]);
  site.killReceiverAt(undefined);
  expect(ended.stdout).toMatch(/^work\.img: 2 of 3 sessions removed/m);
  expect(ended.stderr).toMatch(
    /^sparsebak: warning: default: what was removed comes free only with the next prune: /,
  );
  expect(ended).toMatchObject({ code: 4 });
  const next = linesOf(await run(site, "--json", "prune", "--keep-last", "1"));
  expect(next.find(({ type }) => type === "swept")?.["bytes"]).toBeGreaterThan(0);
  await expectSessions(site, digests, [`${volume} ${names[2]}`]);
});

test("tars on a file system that can't give back parts of a file", async () => {
  await using site = await newSite();
  site.unmount();
  expect(spawnSync("mount", ["-t", "ramfs", "ramfs", site.drive]).status).toBe(0);
  const digests: Digests = new Map();
  const names: string[] = [];
  for (let i = 0; i < 3; i++) names.push(await changeAndSend(site, digests, "--tarfile"));
  const [first = "", second = "", third = ""] = names;
  const tar = join(site.archive, volume, `${first}.tar`);
  const before = readFileSync(tar);

  // Of the first tar something is needed still.
  const dry = await run(site, "prune", "--session", first, "--dry-run");
  expect(dry.stderr).toMatch(/^sparsebak: [1-9].* of it lie in tar files that stay: they come free where /);
  const pruned = await run(site, "prune", "--session", first);
  expect(pruned.stdout).toMatch(/^work\.img: 1 of 3 sessions removed, 0 B of stored data come free$/m);
  expect(pruned.stderr).toMatch(
    /^sparsebak: [1-9].* more lie in tar files that stay, on a file system that can't give back parts of a file/,
  );
  expect(readFileSync(tar)).toEqual(before);
  const left = [`${volume} ${second}`, `${volume} ${third}`];
  await expectSessions(site, digests, left, join(volume, first));

  // What no session needs any more goes whole.
  makeImage(site.image(volume), { size, dataBytes: mib, seed: 91 });
  const [last = ""] = await send(site, digests, "--tarfile");
  const freed = linesOf(await run(site, "--json", "prune", "--keep-last", "1"));
  expect(freed.find(({ type }) => type === "swept")?.["bytes"]).toBeGreaterThan(before.length);
  expect(readdirSync(join(site.archive, volume)).filter((each) => each.endsWith(".tar"))).toEqual([
    `${last}.tar`,
  ]);
  await expectSessions(site, digests, [`${volume} ${last}`]);
});
