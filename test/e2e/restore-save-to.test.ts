// Restores to a file or a device (--save-to): equal byte for byte, and no file that is there is lost without --force.

import { spawnSync } from "node:child_process";
import { chmodSync, closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  good,
  lineOf,
  makeRestoreSite,
  occupied,
  other,
  type RestoreSite,
  strays,
  volume,
} from "../support/restore-site.ts";
import { sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

let site: RestoreSite;
beforeAll(async () => {
  site = await makeRestoreSite();
});
beforeEach(() => site.reset());
afterAll(async () => site[Symbol.asyncDispose]());

test("each session is restored to a file: equal byte for byte, holes stay holes, growth and shrink included", async () => {
  for (const { name, digest, size } of site.sessions) {
    const path = join(site.directory, `${name}.img`);
    const line = lineOf(
      good(await site.sparsebak(["--json", "receive", volume, "--session", name, "--save-to", path])),
    );
    expect(line).toMatchObject({ command: "receive", ok: true, session: name, size });
    expect(sha256Of(path)).toBe(digest);
    expect(occupied(path)).toBeLessThan(7 * mib);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }
  const byTag = join(site.directory, "tagged.img");
  good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", byTag]));
  expect(sha256Of(byTag)).toBe(site.sessions[0].digest);
  expect(strays(site)).toEqual([]);
});

test("a volume whose chunks lie in another one's sessions", async () => {
  const path = join(site.directory, "shared.img");
  good(await site.sparsebak(["receive", other, "--save-to", path]));
  expect(sha256Of(path)).toBe(site.otherDigest);
});

test("--save-to: an existing file is refused, replaced with --force, updated with --sparse-write", async () => {
  const path = join(site.directory, "there.img");
  writeFileSync(path, "mine");
  const refused = await site.sparsebak(["receive", volume, "--save-to", path]);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toMatch(/there\.img: it exists already/);
  expect(readFileSync(path, "utf8")).toBe("mine");
  chmodSync(path, 0o640);
  good(await site.sparsebak(["receive", volume, "--save-to", path, "--force"]));
  expect(statSync(path).mode & 0o7777).toBe(0o640);
  {
    const before = sha256Of(path);
    const fd = openSync(path, "r");
    for (const update of [[], ["--sparse-write"]]) {
      const inUse = await site.sparsebak(["receive", volume, "--save-to", path, "--force", ...update]);
      expect(inUse).toMatchObject({ code: 1 });
      expect(inUse.stderr).toMatch(/in use: process \d+ has it open/);
    }
    closeSync(fd);
    expect(sha256Of(path)).toBe(before);
  }
  expect(sha256Of(path)).toBe(site.sessions[2].digest);
  const update = ["--json", "receive", volume, "--save-to", path, "--force", "--sparse-write"];
  const inode = statSync(path).ino;
  good(await site.sparsebak([...update, "--session", "first"]));
  expect(sha256Of(path)).toBe(site.sessions[0].digest);
  expect(statSync(path).ino).toBe(inode);
  expect(await site.sparsebak(["receive", volume, "--save-to", site.images])).toMatchObject({ code: 1 });
});

test("--save-to a block device: what was there is gone, holes too; a small or busy one is refused", async () => {
  const disk = join(site.directory, "device.img");
  writeFileSync(disk, Buffer.alloc(24 * mib, 0x55));
  using loop = loopDevice(disk);
  good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", loop.path]));
  const { size } = site.sessions[0];
  spawnSync("sync");
  // A loop device can punch holes into the file behind it.
  expect(occupied(disk)).toBeLessThan(24 * mib - size + 5 * mib);
  const bytes = readFileSync(loop.path);
  const wanted = join(site.directory, "wanted.img");
  good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", wanted]));
  expect(bytes.subarray(0, size).equals(readFileSync(wanted))).toBe(true);
  expect(bytes.subarray(size).every((byte) => byte === 0x55)).toBe(true);
  const small = join(site.directory, "small.img");
  writeFileSync(small, Buffer.alloc(mib));
  using smallLoop = loopDevice(small);
  const refused = await site.sparsebak(["receive", volume, "--save-to", smallLoop.path]);
  expect(refused).toMatchObject({ code: 1 });
  expect(refused.stderr).toMatch(/found 1048576 bytes, wanted 9437961 or more/);
  const mounted = spawnSync("findmnt", ["-no", "SOURCE", site.drive], { encoding: "utf8" }).stdout.trim();
  const busy = await site.sparsebak(["receive", volume, "--save-to", mounted]);
  expect(busy).toMatchObject({ code: 1 });
  expect(busy.stderr).toContain(`${mounted}: the device is in use`);
});

interface Loop extends Disposable {
  readonly path: string;
}

function loopDevice(file: string): Loop {
  const path = spawnSync("losetup", ["--find", "--show", file], { encoding: "utf8" }).stdout.trim();
  if (!path.startsWith("/dev/loop")) throw new Error("no loop device");
  return { path, [Symbol.dispose]: () => void spawnSync("losetup", ["-d", path]) };
}
