// The newest head, or the index of a volume, damaged or gone: every command goes on with the second copy and says so, on
// this machine and on a new one; a repair, or the next step that writes the file, makes both right. Where both are lost,
// what is said is true, and nothing is changed.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const [work, other] = ["work.img", "other.img"] as const;
const size = 2 * mib;

let site: Site;
let reset: () => void;
/** Directory of each volume, below the archive. */
const directories = new Map<string, string>();

beforeAll(async () => {
  site = await makeSite({
    volumes: [work, other],
    local: true,
    sealed: true,
    driveBytes: 64 * mib,
    settings: ["chunk-size = 64K"],
  });
  for (const [i, name] of [work, other].entries())
    makeImage(site.image(name), { size, dataBytes: mib, seed: 60 + i });
  for (const i of [0, 1]) {
    if (i > 0) changeImage(site.image(work), mib / 8, 62, size);
    await good("-u", "send");
  }
  for (const name of [work, other])
    directories.set(name, site.volumeDirectory(name).slice(site.archive.length + 1));
  const saved = join(site.directory, "saved");
  const places = { archive: site.archive, state: site.state, images: site.images };
  for (const [name, place] of Object.entries(places)) cpSync(place, join(saved, name), { recursive: true });
  reset = () => {
    for (const [name, place] of Object.entries(places)) {
      rmSync(place, { recursive: true });
      cpSync(join(saved, name), place, { recursive: true });
    }
  };
});
afterAll(async () => site[Symbol.asyncDispose]());
beforeEach(() => reset());

async function good(...args: string[]): Promise<Ended> {
  const ended = await site.sparsebak(args);
  expect(ended, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code: 0 });
  return ended;
}

/** Below the archive: the newest head, or a volume's index that counts. */
const files = {
  head: () => newest("heads", /^(\d+)$/),
  index: () => newest(directories.get(work) ?? "", /^index\.(\d+)$/),
} as const;

function newest(directory: string, pattern: RegExp): string {
  const numbered = readdirSync(join(site.archive, directory)).flatMap((name) => {
    const [, number] = pattern.exec(name) ?? [];
    return number === undefined ? [] : [{ name, number: Number(number) }];
  });
  const [last] = numbered.sort((a, b) => b.number - a.number);
  return join(directory, last?.name ?? "");
}

const damages: Readonly<Record<string, (path: string) => void>> = {
  flipped: (path) => {
    const bytes = readFileSync(path);
    const at = Math.floor(bytes.length / 2);
    writeFileSync(path, bytes.fill((bytes[at] ?? 0) ^ 1, at, at + 1));
  },
  cut: (path) => truncateSync(path, 100),
  gone: (path) => rmSync(path),
};
const cases = Object.keys(files).flatMap((file) =>
  Object.keys(damages).map((how) => ({ file: file as keyof typeof files, how })),
);

describe.each(cases)("$file $how", ({ file, how }) => {
  const damage = (path: string): void => damages[how]?.(join(site.archive, path));

  test("nothing is lost: its copy is used, and said; a repair makes it right", async () => {
    const path = files[file]();
    damage(path);
    for (const args of [
      ["list", work],
      ["verify", work],
      ["receive", work, "--save-to", join(site.directory, "out.img"), "--force"],
    ])
      expect((await good(...args)).stderr).toMatch(/its second copy is used/);
    expect(sha256Of(join(site.directory, "out.img"))).toBe(sha256Of(site.image(work)));
    expect(await site.assembled(work)).toBe(sha256Of(site.image(work)));
    expect(readdirSync(join(site.archive, "copies")).length).toBe(3);
    const found = await site.sparsebak(["check"]);
    expect(found.stderr).toMatch(/check --repair writes it anew/);
    expect(found).toMatchObject({ code: 5 });
    await good("check", "--repair", "--yes");
    expect((await good("check", "--read-data")).stderr).toBe("");
    expect((await good("list", work)).stderr).toBe("");
  });

  test("a new machine takes the archive over", async () => {
    damage(files[file]());
    const dom0 = join(site.directory, "new-dom0");
    rmSync(dom0, { recursive: true, force: true });
    mkdirSync(dom0);
    const ini = join(dom0, "sparsebak.ini");
    cpSync(site.ini, ini);
    const joined = await site.sparsebak(["-u", "init", "--join", "--passphrase-file", site.passphraseFile], {
      ini,
    });
    expect(joined.stderr).toMatch(/its second copy is used/);
    expect(joined, joined.stderr).toMatchObject({ code: 0 });
    const verified = await site.sparsebak(["verify", "--all"], { ini });
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
  });

  test("the next session of the volume makes what counts right, and a repair the rest", async () => {
    damage(files[file]());
    changeImage(site.image(work), mib / 8, 63, size);
    expect((await good("-u", "send", work)).stderr).toMatch(/its second copy is used/);
    expect(await site.assembled(work)).toBe(sha256Of(site.image(work)));
    expect((await good("list", work)).stderr).toBe("");
    // The damaged file is of an older state now, which no session needs; it goes with that.
    const found = await site.sparsebak(["check"]);
    expect(found.stderr).toMatch(
      new RegExp(`damaged or missing, by the destination's own word, and no session needs it: older ${file}`),
    );
    expect(found).toMatchObject({ code: 5 });
    await good("check", "--repair", "--yes");
    expect((await good("check", "--read-data")).stderr).toBe("");
    expect(await site.assembled(work)).toBe(sha256Of(site.image(work)));
  });

  test("with its copy lost as well: status 5, and nothing is changed", async () => {
    const path = files[file]();
    damage(path);
    damage(join("copies", path));
    const before = readdirSync(site.archive, { recursive: true }).map(String).sort();
    for (const args of [
      ["list", work],
      ["-u", "send", work],
      ["receive", work, "--save-to", join(site.directory, "none.img")],
      ["check"],
    ]) {
      const ended = await site.sparsebak(args);
      expect(ended.stderr, args.join(" ")).toMatch(file === "head" ? /head|older state/ : /index/);
      expect(ended.stderr).not.toMatch(/second copy is used/);
      expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 5 });
    }
    expect(readdirSync(site.archive, { recursive: true }).map(String).sort()).toEqual(before);
    // The other volume does not depend on that index.
    expect(await site.sparsebak(["verify", other])).toMatchObject({ code: file === "index" ? 0 : 5 });
  });
});

test("the newest head lost with its copy: with both moved away, the state before it is taken on request", async () => {
  const path = files.head();
  for (const each of [path, join("copies", path)]) damages["flipped"]?.(join(site.archive, each));
  const refused = await site.sparsebak(["-u", "--accept-rollback", "send"]);
  expect(refused.stderr).toMatch(/moved out of heads\/ and copies\/heads\//);
  expect(refused).toMatchObject({ code: 5 });
  for (const each of [path, join("copies", path)]) rmSync(join(site.archive, each));
  const older = await site.sparsebak(["-u", "send"]);
  expect(older.stderr).toMatch(/found an older state/);
  expect(older).toMatchObject({ code: 5 });
  expect((await good("-u", "--accept-rollback", "send")).stderr).toMatch(/ACCEPTED/);
  for (const name of [work, other]) expect(await site.assembled(name)).toBe(sha256Of(site.image(name)));
  await good("check", "--read-data");
});

test("a copy that is damaged, or was never made, is made by the next command that writes", async () => {
  const [head, index] = [files.head(), files.index()];
  for (const each of [head, index]) rmSync(join(site.archive, "copies", each));
  rmSync(join(site.archive, "README.txt"));
  const { stderr } = await good("check");
  expect(stderr.match(/there is no second copy of it/g)).toHaveLength(2);
  expect(stderr).toMatch(/^sparsebak: README\.txt is missing there; the next send writes it$/m);
  expect(stderr).not.toContain("left over");
  const scrubbed = await site.spbkAssemble(["--scrub", site.archive]);
  expect(scrubbed).toMatchObject({ code: 0 });
  for (const each of [head, index])
    expect(scrubbed.stdout).toContain(
      `copies/${each} is missing: a second copy; the next command that writes`,
    );
  expect(scrubbed.stdout).toContain("everything is in order; 3 remarks above");
  await good("-u", "tag", other, "kept");
  expect(readFileSync(join(site.archive, "copies", index))).toEqual(readFileSync(join(site.archive, index)));
  const newer = files.head();
  expect(newer).not.toBe(head);
  expect(readFileSync(join(site.archive, "copies", newer))).toEqual(readFileSync(join(site.archive, newer)));
  expect(readdirSync(join(site.archive, "copies", "heads"))).toHaveLength(1);
  await good("-u", "delete", "--yes", work);
  expect(new Set(readdirSync(join(site.archive, "copies")))).toEqual(
    new Set(["heads", directories.get(other)]),
  );
});
