// What restore and verify can't read: said with its place, and nothing half-made under a name that matters.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  good,
  lineOf,
  makeRestoreSite,
  other,
  type RestoreSite,
  strays,
  volume,
} from "../support/restore-site.ts";
import { linesOf } from "../support/site-sessions.ts";
import { sha256Of } from "../support/site.ts";

let site: RestoreSite;
beforeAll(async () => {
  site = await makeRestoreSite();
});
beforeEach(() => site.reset());
afterAll(async () => site[Symbol.asyncDispose]());

function chunkFiles(session: string): readonly string[] {
  const found = spawnSync("find", [join(site.archive, volume, session), "-name", "x*", "-type", "f"], {
    encoding: "utf8",
  });
  return found.stdout.split("\n").filter(Boolean).sort();
}

test("a damaged chunk, a missing chunk: status 5, no file, the old image stays; verify says where", async () => {
  const image = site.image(volume);
  const before = sha256Of(image);
  const [first] = site.sessions;
  const files = chunkFiles(first.name);
  const [file = "", second = ""] = files;
  const original = readFileSync(file);
  const broken = Buffer.from(original);
  broken[broken.length >> 1] = (broken[broken.length >> 1] ?? 0) ^ 0x10;
  writeFileSync(file, broken);

  const path = join(site.directory, "out.img");
  const saved = await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]);
  expect(saved).toMatchObject({ code: 5 });
  expect(saved.stderr).toMatch(/chunk at x[0-9a-f]{16}.* is damaged: its bytes do not have the checksum/);
  expect(existsSync(path)).toBe(false);
  const swapped = await site.sparsebak(["receive", volume, "--session", "first"]);
  expect(swapped).toMatchObject({ code: 5 });
  expect(sha256Of(image)).toBe(before);

  const secondBytes = readFileSync(second);
  rmSync(second);
  const verified = await site.sparsebak(["--json", "verify", volume, "--session", "first"]);
  expect(verified).toMatchObject({ code: 5 });
  const warning = linesOf(verified).find((line) => line["type"] === "warning") ?? {};
  expect(warning).toMatchObject({ session: first.name, damagedChunks: 2 });
  const addresses = [file, second].map((name) => Number.parseInt(name.slice(-16), 16));
  const ranges = warning["ranges"] as { offset: number; length: number }[];
  for (const address of addresses) {
    expect(ranges.some((each) => each.offset <= address && address < each.offset + each.length)).toBe(true);
  }
  const all = await site.sparsebak(["--json", "verify", volume, "--all-sessions"]);
  expect(all).toMatchObject({ code: 5 });
  expect(lineOf(all)["damaged"]).toContain(first.name);

  writeFileSync(file, original);
  const one = await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]);
  expect(one).toMatchObject({ code: 5 });
  expect(one.stderr).toMatch(/is missing/);
  expect(strays(site)).toEqual([]);
  writeFileSync(second, secondBytes);
  good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]));
  expect(sha256Of(path)).toBe(first.digest);
});

test("one of several volumes fails: the other is restored, status 3", async () => {
  rmSync(site.image(other));
  rmSync(site.image(volume));
  const held = join(site.images, volume);
  mkdirSync(held); // a directory in the image's place can't be replaced
  const ended = await site.sparsebak(["--json", "receive", volume, other]);
  expect(ended).toMatchObject({ code: 3 });
  expect(lineOf(ended, volume)).toMatchObject({ ok: false });
  expect(lineOf(ended, other)).toMatchObject({ ok: true });
  expect(existsSync(site.image(other))).toBe(true);
  rmSync(held, { recursive: true });
  good(await site.sparsebak(["receive", volume]));
  expect(sha256Of(site.image(volume))).toBe(site.sessions[2].digest);
});

test("verify --all-sessions: a damaged header is one session's damage, and the others are looked at", async () => {
  const [first, , last] = site.sessions;
  const header = join(site.archive, volume, first.name, "header");
  const [file = ""] = chunkFiles(last.name);
  for (const path of [header, file]) {
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(path, bytes);
  }
  const ended = await site.sparsebak(["--json", "verify", volume, "--all-sessions"]);
  expect(ended, ended.stderr).toMatchObject({ code: 5 });
  expect(lineOf(ended)).toMatchObject({
    sessions: site.sessions.map((each) => each.name),
    damaged: [first.name, last.name],
  });
  expect(ended.stdout + ended.stderr).toMatch(/header of S_\S+: read a header: its digest does not fit/);
});

test("a manifest that is another one: status 5 before anything is fetched", async () => {
  const directory = join(site.archive, volume, site.sessions[0].name);
  const [manifest = ""] = readdirSync(directory).filter((name) => name.startsWith("manifest."));
  const bytes = readFileSync(join(directory, manifest));
  bytes[bytes.length - 60] = (bytes[bytes.length - 60] ?? 0) ^ 1;
  writeFileSync(join(directory, manifest), bytes);
  const path = join(site.directory, "out.img");
  const ended = await site.sparsebak(["receive", volume, "--save-to", path]);
  expect(ended).toMatchObject({ code: 5 });
  expect(ended.stderr).toMatch(/manifest\.\d+ of S_/);
  expect(existsSync(path)).toBe(false);
  expect(await site.sparsebak(["verify", volume, "--all-sessions"])).toMatchObject({ code: 5 });
});

test("an archive that this dom0 has no key of is not opened", async () => {
  rmSync(join(site.state, "archives"), { recursive: true });
  const path = join(site.directory, "out.img");
  const ended = await site.sparsebak(["receive", volume, "--save-to", path]);
  expect(ended.code).toBe(5);
  expect(existsSync(path)).toBe(false);
});
