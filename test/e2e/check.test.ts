// The damage test: every kind of file of an archive is flipped, cut, removed and swapped, and `check` names exactly the
// sessions that this costs: those that don't assemble any more, and no others.

import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { treeOf } from "../support/archive-tree.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";

const size = 2 * 1024 * 1024 + 4096;
const [template, clone, work] = ["vm-debian-root", "vm-clone-root", "work.img"] as const;

/** A session of a volume, and what it assembles to. */
interface Session {
  readonly volume: string;
  readonly name: string;
  readonly digest: string;
}

interface Prepared extends AsyncDisposable {
  readonly site: Site;
  readonly sessions: readonly Session[];
  /** Where the whole archive and the state are kept. */
  readonly kept: string;
}

/** Three volumes, two of which share chunks; first sessions in directories, then some in tars, then a directory. */
async function prepare(): Promise<Prepared> {
  const site = await makeSite({
    volumes: [template, clone, work],
    local: true,
    driveBytes: 512 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
  });
  const sessions: Session[] = [];
  const send = async (...args: string[]): Promise<void> => {
    const ended = await site.sparsebak(["-u", "--json", "send", ...args]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    for (const { type, volume, session } of linesOf(ended)) {
      if (type === "volume" && typeof volume === "string" && typeof session === "string")
        sessions.push({ volume, name: session, digest: sha256Of(site.image(volume)) });
    }
  };
  makeImage(site.image(template), { size, dataBytes: 1024 * 1024, seed: 30 });
  makeImage(site.image(work), { size, dataBytes: 1024 * 1024, seed: 31 });
  await send(template, work);
  copyFileSync(site.image(template), site.image(clone));
  changeImage(site.image(clone), 128 * 1024, 32, size);
  changeImage(site.image(work), 256 * 1024, 33, size);
  await send("--tarfile", clone, work);
  changeImage(site.image(template), 128 * 1024, 34, size);
  changeImage(site.image(clone), 128 * 1024, 35, size);
  changeImage(site.image(work), 128 * 1024, 36, size);
  await send(template, clone, work);
  const kept = join(site.directory, "kept");
  cpSync(site.archive, join(kept, "archive"), { recursive: true });
  cpSync(site.state, join(kept, "state"), { recursive: true });
  return { site, sessions, kept, [Symbol.asyncDispose]: async () => site[Symbol.asyncDispose]() };
}

function linesOf({ stdout }: Ended): readonly Readonly<Record<string, unknown>>[] {
  return stdout
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
}

let prepared: Prepared;
beforeAll(async () => {
  prepared = await prepare();
});
afterAll(async () => prepared[Symbol.asyncDispose]());

/** The archive and dom0's state as they were. */
function restoreSite({ site, kept }: Prepared): void {
  for (const name of readdirSync(site.archive)) rmSync(join(site.archive, name), { recursive: true });
  cpSync(join(kept, "archive"), site.archive, { recursive: true });
  rmSync(site.state, { recursive: true });
  cpSync(join(kept, "state"), site.state, { recursive: true });
}

const nameOf = ({ volume, name }: Session): string => `${volume} ${name}`;

/** The sessions that don't assemble to what they were, out of those of `sessions`. */
async function broken({ site }: Prepared, sessions: readonly Session[]): Promise<readonly string[]> {
  const ended = await Promise.all(
    sessions.map(async (each) => {
      const args = [join(site.archive, each.volume), "--session", each.name, "--verify"];
      const { code, stdout } = await site.spbkAssemble(args);
      return code === 0 && stdout.includes(each.digest) ? [] : [nameOf(each)];
    }),
  );
  return ended.flat().sort();
}

/** What `check` says that it costs. */
function named(ended: Ended, sessions: readonly Session[]): readonly string[] {
  return linesOf(ended)
    .flatMap(({ command, volume, damaged }) => {
      if (command !== "check") return [];
      if (damaged === "all") return sessions.filter((each) => each.volume === volume).map(nameOf);
      return (damaged as string[]).map((name) => `${String(volume)} ${name}`);
    })
    .sort();
}

/** Where the n-th session of a volume lies. */
function sessionOf(volume: string, n: number): string {
  const name = prepared.sessions.filter((each) => each.volume === volume)[n]?.name ?? "";
  return join(prepared.site.archive, volume, name);
}

/** A volume's directory: one that was made anew while the old one was there has another. */
function directoryOf(site: Site, volume: string): string {
  const names = readdirSync(site.archive).filter((name) => name === volume || name.startsWith(`${volume}+`));
  return names.sort().at(-1) ?? volume;
}

function chunksOf(session: string): readonly string[] {
  return readdirSync(session)
    .filter((name) => /^[0-9a-f]{9}$/.test(name))
    .flatMap((group) => readdirSync(join(session, group)).map((name) => join(session, group, name)))
    .sort();
}

function theOne(directory: string, pattern: RegExp): string {
  const names = readdirSync(directory).filter((name) => pattern.test(name));
  // The highest number: the one that counts.
  const [last = ""] = names.sort((a, b) => Number(b.split(".").at(-1)) - Number(a.split(".").at(-1)));
  return join(directory, last);
}

const flip = (path: string, at = 0.5): void => {
  const bytes = readFileSync(path);
  const i = Math.floor(bytes.length * at);
  bytes[i] = (bytes[i] ?? 0) ^ 0x10;
  writeFileSync(path, bytes);
};
const cut = (path: string): void => truncateSync(path, Math.floor(statSync(path).size / 2));
const remove = (path: string): void => rmSync(path, { recursive: true });
const swap = (a: string, b: string): void => {
  renameSync(a, `${a}.swapped`);
  renameSync(b, a);
  renameSync(`${a}.swapped`, b);
};

const index = (volume: string): string => theOne(join(prepared.site.archive, volume), /^index\./);
const manifest = (n: number): string => theOne(sessionOf(work, n), /^manifest\./);
const chunk = (volume: string, n: number): string => chunksOf(sessionOf(volume, 0))[n] ?? "";
const list = (n: number): string => join(sessionOf(work, n), "list");
const tar = (volume: string): string => `${sessionOf(volume, volume === work ? 1 : 0)}.tar`;

/** A file of the archive and its second copy. */
const both = (path: string): readonly string[] => [
  path,
  join(prepared.site.archive, "copies", relative(prepared.site.archive, path)),
];
const head = (): string => theOne(join(prepared.site.archive, "heads"), /^\d+$/);

/** What is done to the archive, and whether the test goes on to repair it. */
const damages: [what: string, damage: () => void, repairs?: true][] = [
  ["an index flipped, and its copy", () => both(index(work)).forEach((each) => flip(each)), true],
  ["an index cut, and its copy", () => both(index(work)).forEach(cut)],
  ["an index removed that others share chunks with", () => both(index(template)).forEach(remove), true],
  [
    "two indexes swapped, their copies lost",
    () => {
      for (const each of [work, template]) remove(both(index(each))[1] ?? "");
      swap(index(work), index(template));
    },
  ],
  ["an index flipped", () => flip(index(work)), true],
  ["an index cut", () => cut(index(work))],
  ["an index removed", () => remove(index(template)), true],
  ["two indexes swapped", () => swap(index(work), index(template)), true],
  ["a copy of an index flipped", () => flip(both(index(work))[1] ?? ""), true],
  ["the newest head flipped", () => flip(head()), true],
  ["the newest head removed", () => remove(head()), true],
  ["a copy of the newest head cut", () => cut(both(head())[1] ?? ""), true],
  ["a header flipped", () => flip(join(sessionOf(work, 0), "header")), true],
  ["a header removed", () => remove(join(sessionOf(work, 2), "header"))],
  ["the first manifest cut", () => cut(manifest(0)), true],
  ["the last manifest flipped", () => flip(manifest(2))],
  ["the last manifest removed", () => remove(manifest(2)), true],
  ["two manifests swapped", () => swap(manifest(0), manifest(2))],
  ["a list flipped", () => flip(list(0))],
  ["a list cut", () => cut(list(0))],
  ["a list removed", () => remove(list(2)), true],
  ["two lists swapped", () => swap(list(0), list(2))],
  ["a chunk flipped", () => flip(chunk(work, 0))],
  ["a chunk cut", () => cut(chunk(work, 1))],
  ["a chunk removed", () => remove(chunk(work, 2)), true],
  ["chunks swapped", () => swap(chunk(work, 3), chunk(work, 4))],
  ["a chunk flipped that a clone shares", () => flip(chunk(template, 2)), true],
  ["a tar's chunk flipped", () => flip(tar(work))],
  ["a tar's offsets flipped", () => flip(tar(work), 0.97)],
  ["a tar cut", () => cut(tar(work)), true],
  ["a tar removed", () => remove(tar(clone))],
  ["two tars swapped", () => swap(tar(work), tar(clone))],
  ["a session removed", () => remove(sessionOf(work, 0)), true],
  ["two sessions swapped", () => swap(sessionOf(work, 0), sessionOf(work, 2))],
];

test.each(damages.map(([what, damage, repairs]) => ({ what, damage, repairs })))("$what", async (of) => {
  restoreSite(prepared);
  of.damage();
  const { sessions, site } = prepared;
  const lost = await broken(prepared, sessions);
  const ended = await site.sparsebak(["--json", "check"]);
  expect(named(ended, sessions), ended.stdout).toEqual(lost);
  expect(ended, ended.stderr + ended.stdout).toMatchObject({ code: 5 });
  if (of.repairs === true) await checkRepair(prepared, lost);
});

/** Repairs: what was not lost stays, the archive is clean, and the next send brings back what the volumes hold. */
async function checkRepair(on: Prepared, lost: readonly string[]): Promise<void> {
  const { site, sessions } = on;
  const succeeds = async (...args: string[]): Promise<Ended> => {
    const ended = await site.sparsebak(args);
    expect(ended, `${args.join(" ")}: ${ended.stdout}${ended.stderr}`).toMatchObject({ code: 0 });
    return ended;
  };
  await succeeds("--json", "check", "--repair", "--yes");
  const left = sessions.filter((each) => !lost.includes(nameOf(each)));
  expect(await broken(on, left)).toEqual([]);
  await succeeds("-u", "send");
  for (const volume of [template, clone, work])
    expect(await site.assembled(directoryOf(site, volume))).toBe(sha256Of(site.image(volume)));
  await succeeds("check", "--read-data");
}

test("a whole archive is clean, in both ways; --repair has nothing to do", async () => {
  restoreSite(prepared);
  const { site, sessions } = prepared;
  expect(await broken(prepared, sessions)).toEqual([]);
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
  restoreSite(prepared);
  flip(chunk(work, 0));
  const { site, sessions } = prepared;
  const ended = await site.sparsebak(["--json", "check", "--read-data"]);
  expect(named(ended, sessions)).toEqual(await broken(prepared, sessions));
  expect(ended).toMatchObject({ code: 5 });
});

test("the newest head, and its copy: all of it is lost until that is back, and nothing else is touched", async () => {
  restoreSite(prepared);
  const { site } = prepared;
  both(head()).forEach((each) => flip(each));
  const before = treeOf(site.archive);
  const ended = await site.sparsebak(["check", "--repair", "--yes"]);
  expect(ended, ended.stderr).toMatchObject({ code: 5 });
  expect(treeOf(site.archive)).toEqual(before);
});

const archived = (...path: string[]): string => join(prepared.site.archive, ...path);
/** The index of a volume after its first session. */
const oldIndex = (): string => {
  const names = readdirSync(archived(work)).filter((name) => name.startsWith("index."));
  const [oldest = ""] = names.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return archived(work, oldest);
};
const first = (volume: string): string => sessionOf(volume, 0);

/** Damage that costs no session, and what a repair comes to; then the archive is in order. */
const spares: [what: string, damage: () => void, repair: 0 | 5, byHand?: () => void][] = [
  ["an older head flipped", () => flip(archived("heads", "2")), 0],
  ["an older head removed", () => remove(archived("heads", "2")), 0],
  ["an older index flipped", () => flip(oldIndex()), 0],
  ["an older index removed", () => remove(oldIndex()), 0],
  ["older heads swapped", () => swap(archived("heads", "1"), archived("heads", "2")), 0],
  ["a copy of archive flipped", () => flip(join(archived(work), "archive")), 0],
  ["a copy of archive removed", () => remove(join(archived(work), "archive")), 0],
  ["README.txt flipped", () => flip(archived("README.txt")), 5, () => remove(archived("README.txt"))],
  ["lock written to", () => writeFileSync(archived("lock"), "x"), 5, () => remove(archived("lock"))],
];

test.each(spares.map(([what, damage, repairs, byHand]) => ({ what, damage, repairs, byHand })))(
  "$what: it costs no session, and is mended",
  async ({ damage, repairs, byHand }) => {
    restoreSite(prepared);
    damage();
    const { site, sessions } = prepared;
    const ended = await site.sparsebak(["--json", "check"]);
    expect(ended, ended.stderr + ended.stdout).toMatchObject({ code: 5 });
    expect(named(ended, sessions), ended.stdout).toEqual([]);
    const repaired = await site.sparsebak(["--json", "check", "--repair", "--yes"]);
    expect(repaired, repaired.stderr + repaired.stdout).toMatchObject({ code: repairs });
    if (byHand !== undefined) {
      expect(ended.stdout).toMatch(/remove (?:README.txt|the file lock) there/);
      byHand();
      expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
    }
    const after = await site.sparsebak(["check", "--read-data"]);
    expect(after, after.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(await broken(prepared, sessions)).toEqual([]);
  },
);

test("a tar's header flipped: it costs no session, and stays as long as the tar", async () => {
  restoreSite(prepared);
  const { site, sessions } = prepared;
  const path = tar(work);
  const bytes = readFileSync(path);
  bytes[105] = (bytes[105] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const ended = await site.sparsebak(["--json", "check", "--repair", "--yes"]);
  expect(ended, ended.stdout).toMatchObject({ code: 5 });
  expect(named(ended, sessions)).toEqual([]);
  expect(ended.stdout).toContain("place in a tar between its files");
  expect(await broken(prepared, sessions)).toEqual([]);
});

test("what nothing names is said, is no damage, and goes with a repair; what is a stranger's stays", async () => {
  restoreSite(prepared);
  const { site } = prepared;
  const [chunkFile = ""] = chunksOf(first(work));
  const group = chunkFile.slice(0, -"x0000000000000000".length);
  const ours = [
    join(first(work), "manifest.2"),
    join(first(work), "list.2"),
    join(group, "x00000000001f0000"),
    `${tar(work)}.list.3`,
    archived("archive.1"),
  ];
  for (const path of ours) writeFileSync(path, "whatever");
  const stranger = archived("holiday.jpg");
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
  restoreSite(prepared);
  const { site, sessions } = prepared;
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
  expect(named(ended, sessions).filter((each) => each.endsWith(sessions.at(-1)?.name ?? ""))).toEqual([]);
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
  makeImage(site.image(work), { size, dataBytes: 1024 * 1024, seed: 40 });
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
