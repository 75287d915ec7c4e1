// What an archive holds, whether it can be read, and where a volume differs from it: what verify, list and diff say.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { changeImage } from "../../bench/image.ts";
import { good, lineOf, makeRestoreSite, other, type RestoreSite, volume } from "../support/restore-site.ts";
import { linesOf } from "../support/site-sessions.ts";

const mib = 1024 * 1024;

let site: RestoreSite;
beforeAll(async () => {
  site = await makeRestoreSite();
});
beforeEach(() => site.reset());
afterAll(async () => site[Symbol.asyncDispose]());

test("verify: one session, all sessions; what it says can be read by a program", async () => {
  expect(lineOf(good(await site.sparsebak(["--json", "verify", volume])))).toMatchObject({
    ok: true,
    sessions: [site.sessions[2].name],
  });
  const all = lineOf(good(await site.sparsebak(["--json", "verify", volume, "--all-sessions"])));
  expect(all).toMatchObject({ sessions: site.sessions.map((each) => each.name) });
  expect(Number(all["readBytes"])).toBeGreaterThan(0);
});

test("list: volumes, sessions, all about one session", async () => {
  const volumes = linesOf(await site.sparsebak(["--json", "list"]));
  expect(volumes).toMatchObject([
    { type: "volume", name: other, sessions: 1 },
    { type: "volume", name: volume, sessions: 3, last: site.sessions[2].name },
  ]);
  const [, ...listed] = linesOf(await site.sparsebak(["--json", "list", volume]));
  expect(listed).toMatchObject(
    site.sessions.map(({ name, size }, i) => ({
      type: "session",
      name,
      size,
      sequence: i + 1,
      form: i === 1 ? "tar" : "dir",
      tags: i === 0 ? ["first"] : [],
      protected: false,
      consistency: "file",
    })),
  );
  expect(Number(listed[1]?.["storedBytes"])).toBeLessThan(Number(listed[0]?.["storedBytes"]));
  const one = await site.sparsebak(["list", volume, "--session", "first"]);
  expect(one.stdout).toMatch(/^work\.img S_\S+\n {2}uid +[0-9a-f]{32}\n {2}sequence +1\n {2}taken /);
  expect(one.stdout).toMatch(/added +\d+ chunks, \d+ bytes stored/);
  expect(await site.sparsebak(["list", volume, "--session", "no-such"])).toMatchObject({ code: 1 });
});

test("diff: 0 where it is equal, 1 with the ranges where it is not, by bytes and by ids", async () => {
  for (const quick of [[], ["--quick"]]) {
    const equal = await site.sparsebak(["--json", "diff", volume, ...quick]);
    expect(lineOf(good(equal))).toMatchObject({ differingBytes: 0, ranges: [] });
    const before = readFileSync(site.image(volume));
    const changed = Buffer.from(before);
    changed[200_000] = (changed[200_000] ?? 0) ^ 1;
    changed.fill(7, 4 * mib, 4 * mib + 10);
    writeFileSync(site.image(volume), changed);
    const differs = await site.sparsebak(["--json", "diff", volume, ...quick]);
    expect(differs).toMatchObject({ code: 1 });
    expect(lineOf(differs)).toMatchObject({
      ok: true,
      differingBytes: 2 * 65_536,
      ranges: [
        { offset: 3 * 65_536, length: 65_536 },
        { offset: 4 * mib, length: 65_536 },
      ],
    });
    writeFileSync(site.image(volume), before);
  }
  // Against an older, larger session: from the chunk of the smaller end on all differs.
  const older = lineOf(await site.sparsebak(["--json", "diff", volume, "--session", site.sessions[1].name]));
  expect(older).toMatchObject({ size: 9 * mib + 777, sessionSize: 20 * mib });
  const ranges = older["ranges"] as { offset: number; length: number }[];
  expect(ranges.at(-1)).toEqual({ offset: 9 * mib, length: 11 * mib });
});

test("diff of two: 1 where one differs and the other is equal, 3 where one can't be compared", async () => {
  changeImage(site.image(volume), mib / 4, 10, 9 * mib);
  for (const quick of [[], ["--quick"]]) {
    const one = await site.sparsebak(["--json", "diff", volume, other, ...quick]);
    expect(one, one.stderr).toMatchObject({ code: 1 });
    expect(lineOf(one, other)).toMatchObject({ ok: true, differingBytes: 0 });
  }
  rmSync(site.image(other));
  const failed = await site.sparsebak(["--json", "diff", volume, other]);
  expect(failed, failed.stderr).toMatchObject({ code: 3 });
  expect(lineOf(failed, other)).toMatchObject({ ok: false });
});

test("patterns and --all", async () => {
  const all = await site.sparsebak(["--json", "verify", "--all", "--all-sessions"]);
  expect(lineOf(good(all))).toMatchObject({ sessions: site.sessions.map((each) => each.name) });
  expect(lineOf(all, other)).toMatchObject({ ok: true });
  const some = await site.sparsebak(["--json", "diff", "o*.img", "--quick"]);
  expect(linesOf(some)).toMatchObject([{ volume: other, differingBytes: 0 }]);
  expect(await site.sparsebak(["diff", "x*", "--quick"])).toMatchObject({ code: 1 });
});
