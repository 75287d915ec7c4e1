// What `check` says where nothing is lost: of a whole archive, of damage that costs no session, of what is not the archive's.

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeImage } from "../../bench/image.ts";
import { treeOf } from "../support/archive-tree.ts";
import { type CheckedArchive, makeCheckedArchive, work } from "../support/checked-archive.ts";
import { chunksOf, flip, remove, swap, theOne } from "../support/damage.ts";
import { type Ended, makeSite } from "../support/site.ts";
import { linesOf } from "../support/site-sessions.ts";

let archive: CheckedArchive;
beforeAll(async () => {
  archive = await makeCheckedArchive();
});
afterAll(async () => archive[Symbol.asyncDispose]());

test("a whole archive is clean, in both ways; --repair has nothing to do", async () => {
  archive.restore();
  const { site } = archive;
  expect(await archive.broken()).toEqual([]);
  const ended = await site.sparsebak(["check"]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toMatch(/destination's own word/);
  expect(await site.sparsebak(["check", "--read-data"])).toMatchObject({ code: 0, stderr: "" });
  expect(await site.sparsebak(["-u", "check", "--repair"])).toMatchObject({ code: 2 });
  const heads = (): string[] => readdirSync(join(site.archive, "heads"));
  const before = heads();
  expect(await site.sparsebak(["-u", "check", "--repair", "--yes"])).toMatchObject({ code: 0 });
  expect(heads()).toEqual(before);
});

test("--read-data finds by itself what the destination's word would hide", async () => {
  archive.restore();
  flip(archive.chunk(work, 0));
  const { site } = archive;
  const ended = await site.sparsebak(["--json", "check", "--read-data"]);
  expect(archive.named(ended)).toEqual(await archive.broken());
  expect(ended).toMatchObject({ code: 5 });
});

test("the newest head, and its copy: all of it is lost until that is back, and nothing else is touched", async () => {
  archive.restore();
  const { site } = archive;
  archive.both(archive.head()).forEach((each) => flip(each));
  const before = treeOf(site.archive);
  const ended = await site.sparsebak(["check", "--repair", "--yes"]);
  expect(ended, ended.stderr).toMatchObject({ code: 5 });
  expect(treeOf(site.archive)).toEqual(before);
});

/** The index of a volume after its first session. */
const oldIndex = (): string => {
  const names = readdirSync(archive.path(work)).filter((name) => name.startsWith("index."));
  const [oldest = ""] = names.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return archive.path(work, oldest);
};
const first = (volume: string): string => archive.session(volume, 0);

/** Damage that costs no session, and what a repair comes to; then the archive is in order. */
const spares: [what: string, damage: () => void, repair: 0 | 5, byHand?: () => void][] = [
  ["an older head flipped", () => flip(archive.path("heads", "2")), 0],
  ["an older head removed", () => remove(archive.path("heads", "2")), 0],
  ["an older index flipped", () => flip(oldIndex()), 0],
  ["an older index removed", () => remove(oldIndex()), 0],
  ["older heads swapped", () => swap(archive.path("heads", "1"), archive.path("heads", "2")), 0],
  ["a copy of archive flipped", () => flip(join(archive.path(work), "archive")), 0],
  ["a copy of archive removed", () => remove(join(archive.path(work), "archive")), 0],
  ["README.txt flipped", () => flip(archive.path("README.txt")), 5, () => remove(archive.path("README.txt"))],
  ["lock written to", () => writeFileSync(archive.path("lock"), "x"), 5, () => remove(archive.path("lock"))],
];

test.each(spares.map(([what, damage, repairs, byHand]) => ({ what, damage, repairs, byHand })))(
  "$what: it costs no session, and is mended",
  async ({ damage, repairs, byHand }) => {
    archive.restore();
    damage();
    const { site } = archive;
    const ended = await site.sparsebak(["--json", "check"]);
    expect(ended, ended.stderr + ended.stdout).toMatchObject({ code: 5 });
    expect(archive.named(ended), ended.stdout).toEqual([]);
    const repaired = await site.sparsebak(["--json", "check", "--repair", "--yes"]);
    expect(repaired, repaired.stderr + repaired.stdout).toMatchObject({ code: repairs });
    if (byHand !== undefined) {
      expect(ended.stdout).toMatch(/remove (?:README.txt|the file lock) there/);
      byHand();
      expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
    }
    const after = await site.sparsebak(["check", "--read-data"]);
    expect(after, after.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(await archive.broken()).toEqual([]);
  },
);

test("a tar's header flipped: it costs no session, and stays as long as the tar", async () => {
  archive.restore();
  const { site } = archive;
  const path = archive.tar(work);
  const bytes = readFileSync(path);
  bytes[105] = (bytes[105] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const ended = await site.sparsebak(["--json", "check", "--repair", "--yes"]);
  expect(ended, ended.stdout).toMatchObject({ code: 5 });
  expect(archive.named(ended)).toEqual([]);
  expect(ended.stdout).toContain("place in a tar between its files");
  expect(await archive.broken()).toEqual([]);
});

test("what nothing names is said, is no damage, and goes with a repair; what is a stranger's stays", async () => {
  archive.restore();
  const { site } = archive;
  const [chunkFile = ""] = chunksOf(first(work));
  const group = chunkFile.slice(0, -"x0000000000000000".length);
  const ours = [
    join(first(work), "manifest.2"),
    join(first(work), "list.2"),
    join(group, "x00000000001f0000"),
    `${archive.tar(work)}.list.3`,
    archive.path("archive.1"),
  ];
  for (const path of ours) writeFileSync(path, "whatever");
  const stranger = archive.path("holiday.jpg");
  writeFileSync(stranger, "whatever");
  const ended = await site.sparsebak(["check"]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toContain("that the archive does not name");
  expect(ended.stderr).toContain("there is what the archive does not name");
  const scrubbed = await site.spbkAssemble(["--scrub", site.archive]);
  expect(scrubbed, scrubbed.stdout).toMatchObject({ code: 0 });
  expect(scrubbed.stdout).toContain("holiday.jpg should not be there");
  expect(await site.sparsebak(["check", "--repair", "--yes"])).toMatchObject({ code: 0 });
  for (const path of ours) expect(existsSync(path), path).toBe(false);
  expect(existsSync(stranger)).toBe(true);
  const after = await site.sparsebak(["check"]);
  expect(after, after.stderr).toMatchObject({ code: 0 });
  expect(after.stderr).toMatch(/does not name: file;/);
});

test("what waits in the trash is no damage; damage there is, and costs no session", async () => {
  archive.restore();
  const { site } = archive;
  const settings = join(site.directory, "receiver.ini");
  writeFileSync(settings, "[receiver]\ntrash-days = 30\n");
  const ini = join(site.ini, "..", "keeping.ini");
  writeFileSync(
    ini,
    readFileSync(site.ini, "utf8").replace("[var]\n", `[var]\nreceiver-settings = ${settings}\n`),
  );
  const pruned = await site.sparsebak(["-u", "prune", work, "--keep-last", "1"], { ini });
  expect(pruned, pruned.stderr).toMatchObject({ code: 0 });
  const clean = await site.sparsebak(["check", "--read-data"], { ini });
  expect(clean, clean.stderr).toMatchObject({ code: 0 });
  expect(clean.stderr).toMatch(/in the trash: what 1 step took away/);
  expect((await site.spbkAssemble(["--scrub", site.archive])).code).toBe(0);
  flip(theOne(first(work), /^manifest\./));
  const ended = await site.sparsebak(["--json", "check"], { ini });
  expect(ended, ended.stdout).toMatchObject({ code: 5 });
  expect(archive.named(ended).filter((each) => each.endsWith(archive.sessions.at(-1)?.name ?? ""))).toEqual(
    [],
  );
});

test("a sealed archive: damage is named and repaired", async () => {
  await using site = await makeSite({
    volumes: [work],
    local: true,
    sealed: true,
    driveBytes: 256 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
  });
  const run = async (code: number, ...args: string[]): Promise<Ended> => {
    const ended = await site.sparsebak(args);
    expect(ended, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code });
    return ended;
  };
  makeImage(site.image(work), { size: 2 * 1024 * 1024, dataBytes: 1024 * 1024, seed: 40 });
  await run(0, "-u", "send");
  // The first chunk that has data goes in the second session, so that only the first needs what was there.
  const [, firstName = ""] = /(S_\d{8}-\d{6})/.exec((await run(0, "list", work)).stdout) ?? [];
  const [lost = ""] = chunksOf(join(site.volumeDirectory(work), firstName));
  const image = readFileSync(site.image(work));
  writeFileSync(
    site.image(work),
    image.fill(7, Number(`0x${lost.slice(-16)}`), Number(`0x${lost.slice(-16)}`) + 65_536),
  );
  await run(0, "-u", "send");
  await run(0, "check", "--read-data");
  remove(lost);
  const ended = await run(5, "--json", "check");
  expect(linesOf(ended)).toContainEqual(expect.objectContaining({ command: "check", damaged: [firstName] }));
  await run(5, "verify", work, "--session", firstName);
  await run(0, "verify", work);
  await run(0, "check", "--repair", "--yes");
  await run(0, "check", "--read-data");
  await run(0, "verify", work);
});
