// Restores into the storage: in the place of the image, or over it. What lies there then, and what is kept or refused.

import {
  closeSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import {
  good,
  lineOf,
  makeRestoreSite,
  occupied,
  other,
  type RestoreSite,
  settings,
  strays,
  volume,
} from "../support/restore-site.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

let site: RestoreSite;
beforeAll(async () => {
  site = await makeRestoreSite();
});
beforeEach(() => site.reset());
afterAll(async () => site[Symbol.asyncDispose]());

test("into the storage: the restored image takes the place, the old one is kept until --confirm", async () => {
  const image = site.image(volume);
  writeFileSync(image, "something else");
  const line = lineOf(good(await site.sparsebak(["--json", "receive", volume, "--session", "first"])));
  expect(sha256Of(image)).toBe(site.sessions[0].digest);
  const kept = String(line["kept"]);
  expect(readFileSync(join(site.images, kept), "utf8")).toBe("something else");
  good(await site.sparsebak(["receive", volume]));
  expect(sha256Of(image)).toBe(site.sessions[2].digest);
  const old = readdirSync(site.images).filter((name) => name.includes(".old-"));
  expect(old).toHaveLength(2);
  // Another file in the place of one of them is left alone, and so is the word of it.
  const [first = ""] = old;
  renameSync(join(site.images, first), join(site.images, "aside"));
  writeFileSync(join(site.images, first), "another");
  const refused = await site.sparsebak(["receive", "--confirm", volume]);
  expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining(`${first} not removed`) });
  renameSync(join(site.images, "aside"), join(site.images, first));
  good(await site.sparsebak(["receive", volume]));
  const again = readdirSync(site.images).filter((name) => name.includes(".old-"));
  expect(again).toHaveLength(2);
  old.splice(0, old.length, ...again);
  const confirmed = await site.sparsebak(["receive", "--confirm", volume]);
  expect(confirmed).toMatchObject({ code: 0 });
  for (const name of old) expect(confirmed.stdout).toContain(`${name} removed`);
  expect(readdirSync(site.images).sort()).toEqual([other, volume]);
  expect((await site.sparsebak(["receive", "--confirm", volume])).stdout).toContain("no old volume is kept");
  expect(strays(site)).toEqual([]);
});

test("an image that is gone comes back; one in use is refused", async () => {
  const image = site.image(volume);
  rmSync(image);
  good(await site.sparsebak(["receive", volume]));
  expect(sha256Of(image)).toBe(site.sessions[2].digest);
  const held = openSync(image, "r");
  const refused = await site.sparsebak(["receive", volume]);
  closeSync(held);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toMatch(/work\.img: it is in use: process \d+ has it open/);
  expect(readdirSync(site.images).sort()).toEqual([other, volume]);
});

test("--in-place writes over the image; with --sparse-write only what differs", async () => {
  const image = site.image(volume);
  const inode = statSync(image).ino;
  const older = site.sessions[1].name;
  const whole = lineOf(
    good(await site.sparsebak(["--json", "receive", volume, "--in-place", "--session", older])),
  );
  expect(sha256Of(image)).toBe(site.sessions[1].digest);
  expect(Number(whole["fetchedBytes"])).toBeGreaterThan(mib / 2);
  changeImage(image, 3 * 65_536, 21, 20 * mib);
  const sparse = lineOf(
    good(
      await site.sparsebak(["--json", "receive", volume, "--in-place", "--sparse-write", "--session", older]),
    ),
  );
  expect(sha256Of(image)).toBe(site.sessions[1].digest);
  const changed = Number(sparse["writtenBytes"]) + Number(sparse["discardedBytes"]);
  expect(changed).toBeGreaterThan(0);
  expect(changed).toBeLessThan(Number(whole["writtenBytes"]) / 2);
  const again = lineOf(
    good(
      await site.sparsebak(["--json", "receive", volume, "--in-place", "--sparse-write", "--session", older]),
    ),
  );
  expect(again).toMatchObject({ fetchedBytes: 0, writtenBytes: 0, discardedBytes: 0 });
  good(await site.sparsebak(["receive", volume, "--in-place"]));
  expect(sha256Of(image)).toBe(site.sessions[2].digest);
  expect(statSync(image).ino).toBe(inode);
  expect(await site.sparsebak(["receive", volume, "--sparse-write"])).toMatchObject({ code: 2 });
});

test("--in-place: holes are given back, and what is restored occupies what its data does", async () => {
  const image = site.image(volume);
  const { name, digest, size } = site.sessions[0];
  writeFileSync(image, Buffer.alloc(size, 0x55));
  expect(occupied(image)).toBeGreaterThanOrEqual(size);
  const { discardedBytes } = lineOf(
    good(await site.sparsebak(["--json", "receive", volume, "--in-place", "--session", name])),
  );
  expect(sha256Of(image)).toBe(digest);
  expect(Number(discardedBytes)).toBeGreaterThan(size / 2);
  expect(occupied(image)).toBeLessThanOrEqual(size - Number(discardedBytes) + 65_536);
});

test("where holes can't be given back, zeros are written where there were none", async () => {
  await using own = await makeSite({ volumes: [volume], driveBytes: 64 * mib, settings, local: true });
  const image = own.image(volume);
  makeImage(image, { size: 4 * mib, dataBytes: mib, seed: 22 });
  const digest = sha256Of(image);
  good(await own.sparsebak(["-u", "send"]));
  writeFileSync(image, Buffer.alloc(4 * mib, 0x55));
  // In place of a file system that has no holes, which not every kernel can mount: fallocate says what it says there.
  const [tools = ""] = own.lab.dom0Path.split(":");
  const refusing = "#!/bin/sh\necho 'fallocate: fallocate failed: Operation not supported' >&2\nexit 1\n";
  writeFileSync(join(tools, "fallocate"), refusing, { mode: 0o755 });
  const line = lineOf(good(await own.sparsebak(["--json", "receive", volume, "--in-place"])));
  expect(sha256Of(image)).toBe(digest);
  expect(line).toMatchObject({ writtenBytes: 4 * mib, discardedBytes: 0 });
});
