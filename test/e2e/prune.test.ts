// Sessions and volumes go, by name, by date, by retention; what stays assembles byte for byte, and nothing is stored
// that nobody names. Through the built programs and a mounted drive.

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { stateLayout } from "../../dom0-agent/state/layout.ts";
import { tryLock } from "../../dom0-agent/state/lock.ts";
import { treeOf } from "../support/archive-tree.ts";
import { makeSite, sha256Of, type Site, type SiteOptions } from "../support/site.ts";
import { type Digests, expectSessions, linesOf, listed, run, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const size = 4 * mib + 1000;
const volume = "work.img";

/** A site with `count` sessions of a volume, changed in between; gives their names. */
async function withSessions(
  count: number,
  form: readonly string[],
  options: Partial<SiteOptions> = {},
): Promise<{ site: Site; digests: Digests; names: readonly string[] }> {
  const settings = ["chunk-size = 64K", ...(options.settings ?? [])];
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 128 * mib,
    local: true,
    ...options,
    settings,
  });
  makeImage(site.image(volume), { size, dataBytes: 2 * mib, seed: 21 });
  const digests: Digests = new Map();
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    if (i > 0) changeImage(site.image(volume), mib / 4, 22 + i, size);
    names.push(...(await send(site, digests, ...form)));
  }
  return { site, digests, names };
}

const keysOf = (names: readonly string[], of: string = volume): readonly string[] =>
  names.map((each) => `${of} ${each}`);

/** Bytes that the archive takes on the drive. */
function blocksOf(path: string): number {
  return readdirSync(path, { recursive: true }).reduce(
    (sum, each) => sum + statSync(join(path, String(each))).blocks * 512,
    0,
  );
}

describe.each([
  ["directory", []],
  ["tar", ["--tarfile"]],
] as const)("%s form", (_, form) => {
  test("a drive that sends have filled can be pruned; one that others have filled is left as it is", async () => {
    const options = { volumes: [volume], driveBytes: 16 * mib, mkfs: ["mkfs.ext4", "-q", "-F", "-m", "0"] };
    await using site = await makeSite({ ...options, settings: ["chunk-size = 64K"], local: true });
    const digests: Digests = new Map();
    const names: string[] = [];
    let full = "";
    for (let i = 0; full === ""; i++) {
      makeImage(site.image(volume), { size: 2 * size, dataBytes: 4 * mib, seed: 60 + i });
      const before = sha256Of(site.image(volume));
      const ended = await site.sparsebak(["-u", "--json", "send", ...form]);
      if (ended.code === 0) {
        const session = String(linesOf(ended).find(({ type }) => type === "volume")?.["session"]);
        digests.set(`${volume} ${session}`, before);
        names.push(session);
      } else full = ended.stderr;
    }
    expect(full).toMatch(/no-space: \d+ bytes are free on the drive, wanted more than \d+: a prune may need/);
    await expectSessions(site, digests, keysOf(names));

    // Others leave nothing.
    const filler = join(site.drive, "filler");
    spawnSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=1k"], { stdio: "ignore" });
    const before = treeOf(site.archive);
    const refused = await site.sparsebak(["-u", "prune", "--keep-last", "1"]);
    expect(refused.code, refused.stderr).toBe(4);
    expect(refused.stderr).toMatch(/no-space: the file system is full: \d+ bytes are free/);
    expect(treeOf(site.archive)).toEqual(before);
    rmSync(filler);

    await run(site, "prune", "--keep-last", "1");
    await expectSessions(site, digests, keysOf(names.slice(-1)));
    const sent = await send(site, digests, ...form);
    await expectSessions(site, digests, keysOf([...names.slice(-1), ...sent]));
  });

  test("sessions go one by one, in ranges and by rule, and the rest restores each time", async () => {
    const { site, digests, names } = await withSessions(6, form);
    await using _site = site;
    const before = treeOf(site.archive);
    const dry = await run(site, "prune", "--keep-last", "2", "--dry-run");
    expect(dry.stdout).toMatch(/4 of 6 sessions would go, .* would come free/);
    expect(dry.stdout).toContain(names[0] ?? "");
    expect(dry.stdout.match(/ goes$/gm)?.length).toBe(4);
    expect(dry.stdout).toMatch(/stays: keep-last/);
    expect(treeOf(site.archive)).toEqual(before);

    await run(site, "prune", "--session", names[1] ?? "");
    await expectSessions(site, digests, keysOf(names.filter((_name, i) => i !== 1)));
    // The first one, which the others build upon.
    const used = blocksOf(site.archive);
    await run(site, "prune", "--session", names[0] ?? "");
    await expectSessions(site, digests, keysOf(names.slice(2)));
    expect(blocksOf(site.archive)).toBeLessThan(used);

    await run(site, "tag", volume, "release", "--session", names[2] ?? "", "--protect");
    await run(site, "prune", "--session", `${names[2] ?? ""}..${names[4] ?? ""}`);
    await expectSessions(site, digests, keysOf([names[2] ?? "", names[5] ?? ""]));

    // What dom0 keeps is still right: the next send finds exactly what has changed, and asks nothing anew.
    changeImage(site.image(volume), mib / 8, 40, size);
    const sent = await site.sparsebak(["-u", "--json", "send", ...form]);
    expect(sent.stdout + sent.stderr).not.toMatch(/made again/);
    const [line] = linesOf(sent).filter((each) => each["type"] === "volume");
    expect(line).toMatchObject({ ok: true, kind: "compared" });
    expect(line?.["storedBytes"]).toBeLessThan(mib);
    const last = String(line?.["session"]);
    digests.set(`${volume} ${last}`, sha256Of(site.image(volume)));
    await run(site, "tag", volume, "--session", names[2] ?? "", "--unprotect");
    await run(site, "prune", "--keep-last", "1");
    await expectSessions(site, digests, keysOf([last]));
  });
});

test("what can't go says why, and nothing is changed", async () => {
  const { site, names } = await withSessions(2, []);
  await using _site = site;
  const before = treeOf(site.archive);
  const [first = "", newest = ""] = names;
  const cases: readonly [readonly string[], number, RegExp][] = [
    [["prune", "--session", newest], 1, /newest session, which is never pruned/],
    [["prune", "--session", "S_19990101-000000"], 1, /there is no session S_19990101-000000/],
    [["prune"], 2, /nothing says which sessions go/],
    [["prune", "--keep-tag", "x"], 2, /nothing says which sessions go/],
    [["prune", "--session", "yesterday"], 2, /--session: found «yesterday»/],
    [["prune", "--before", "2026-02-31"], 2, /--before: found/],
    [["prune", "--keep-last", "-1"], 2, /--keep-last: found «-1»/],
    [["prune", "nothing-*", "--keep-last", "1"], 1, /no volume nothing-\*/],
    [["tag", volume], 2, /nothing to do/],
    [["tag", volume, "no spaces"], 2, /found «no spaces»/],
    [["rename", volume, "../x"], 2, /can't be the name/],
    [["rename", "other.img", "x"], 1, /no volume other.img/],
    [["delete", volume], 2, /with --yes it does not ask/],
    [["delete"], 2, /which volumes/],
    [["add", "other.img"], 1, /other.img: there is no such volume/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await site.sparsebak(["-u", ...args]);
    expect(ended, args.join(" ")).toMatchObject({ code });
    expect(ended.stderr, args.join(" ")).toMatch(message);
  }
  await run(site, "tag", volume, "--protect", "--session", first);
  const refused = await site.sparsebak(["-u", "prune", "--session", first]);
  expect(refused.stderr).toMatch(/is protected/);
  // Only index and heads have changed.
  const after = [...treeOf(site.archive)].filter(([path]) => !/heads|index|README/.test(path));
  expect(after).toEqual([...before].filter(([path]) => !/heads|index|README/.test(path)));
});

test("an archive in another state than dom0 knows is not pruned", async () => {
  const { site } = await withSessions(2, []);
  await using _site = site;
  const older = join(site.directory, "older");
  cpSync(site.archive, older, { recursive: true });
  changeImage(site.image(volume), mib / 4, 50, size);
  await run(site, "send");
  rmSync(site.archive, { recursive: true });
  cpSync(older, site.archive, { recursive: true });
  const before = treeOf(site.archive);
  const ended = await site.sparsebak(["-u", "prune", "--keep-last", "1"]);
  expect(ended).toMatchObject({ code: 5 });
  expect(ended.stderr).toMatch(/found an older state/);
  expect(treeOf(site.archive)).toEqual(before);
});

test("a manifest that is damaged stops the prune of its volume", async () => {
  const { site, names } = await withSessions(3, []);
  await using _site = site;
  const directory = join(site.archive, volume, names[1] ?? "");
  const manifest = readdirSync(directory).find((each) => each.startsWith("manifest")) ?? "";
  const path = join(directory, manifest);
  const bytes = readFileSync(path);
  bytes.writeUInt8((bytes[200] ?? 0) ^ 1, 200);
  writeFileSync(path, bytes);
  const before = treeOf(site.archive);
  const ended = await site.sparsebak(["-u", "prune", "--keep-last", "1"]);
  expect(ended).toMatchObject({ code: 5 });
  expect(ended.stderr).toMatch(/manifest/);
  expect(treeOf(site.archive)).toEqual(before);
});

test("an old head that can't be read stands in nobody's way", async () => {
  const { site, digests, names } = await withSessions(4, []);
  await using _site = site;
  const oldest = join(site.archive, "heads", "1");
  rmSync(oldest);
  mkdirSync(oldest);
  await run(site, "prune", "--keep-last", "2");
  await expectSessions(site, digests, keysOf(names.slice(2)));
});

test("volumes that share chunks: what one loses the other keeps, until nobody needs it", async () => {
  const [template, clone] = ["vm-debian-root", "vm-clone-root"] as const;
  const settings = ["chunk-size = 64K"];
  await using site = await makeSite({
    volumes: [template, clone],
    driveBytes: 128 * mib,
    local: true,
    settings,
  });
  const digests: Digests = new Map();
  makeImage(site.image(template), { size, dataBytes: 2 * mib, seed: 31 });
  copyFileSync(site.image(template), site.image(clone));
  const [first = ""] = await send(site, digests);
  changeImage(site.image(clone), mib / 4, 32, size);
  const [second = ""] = await send(site, digests, clone);
  const known = [`${template} ${first}`, `${clone} ${first}`, `${clone} ${second}`];
  await expectSessions(site, digests, known);

  await run(site, "delete", template, "--yes");
  await expectSessions(site, digests, known.slice(1));
  expect((await run(site, "list")).stdout).not.toContain(template);
  // The same name again is a new volume, which finds the old one's chunks.
  const again = await send(site, digests, template);
  await expectSessions(site, digests, [...known.slice(1), `${template} ${again[0] ?? ""}`]);
  await run(site, "prune", clone, "--keep-last", "1");
  await expectSessions(site, digests, [`${clone} ${second}`, `${template} ${again[0] ?? ""}`]);
  await run(site, "delete", "vm-*", "--yes");
  expect(await listed(site)).toEqual([]);
  expect(readdirSync(site.archive).filter((each) => each.startsWith("vm-"))).toEqual([]);
  expect(readdirSync(join(site.state, "archives", "default", "volumes"))).toEqual([]);
});

test("a delete that looks for what it may remove keeps no monitor waiting", async () => {
  const { site } = await withSessions(2, []);
  await using _site = site;
  let pid = 0;
  const running = site.sparsebak(["-u", "delete", volume, "--yes"], {
    killAt: 1,
    stop: true,
    counted: { from: "^mkdirSync .*/prune$", until: "^never$" },
    onStart: (id) => (pid = id),
  });
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) await sleep(20);
  const lock = await tryLock(stateLayout(site.state).lock);
  const isFree = lock !== undefined;
  lock?.[Symbol.dispose]();
  process.kill(pid, "SIGCONT");
  expect(await running).toMatchObject({ code: 0 });
  expect(isFree).toBe(true);
  expect(await listed(site)).toEqual([]);
});

test("retention of the settings is applied after a send", async () => {
  const { site, digests, names } = await withSessions(4, [], {
    settings: ["keep-last = 2", "prune-after-send = yes"],
  });
  await using _site = site;
  await expectSessions(site, digests, keysOf(names.slice(2)));
  // Old heads went with it, a few of the newest are there.
  expect(readdirSync(join(site.archive, "heads")).length).toBeLessThan(5);
});

test("rename: the sessions go on under the new name; add: a line in the settings", async () => {
  const { site, digests, names } = await withSessions(2, []);
  await using _site = site;
  const other = "office.img";
  const said = await run(site, "rename", volume, other);
  expect(said.stderr).toMatch(/change «work.img = …» in \[volumes\] to «office.img = …»/);
  copyFileSync(site.image(volume), site.image(other));
  changeImage(site.image(other), mib / 8, 60, size);
  await run(site, "add", other);
  expect(readFileSync(site.ini, "utf8")).toMatch(/\nwork.img = enable\noffice.img = enable\n/);
  const [third = ""] = await send(site, digests, other);
  for (const name of names) digests.set(`${other} ${name}`, digests.get(`${volume} ${name}`) ?? "");
  await expectSessions(site, digests, keysOf([...names, third], other));
  const lines = linesOf(await run(site, "--json", "list", other));
  const stored = lines
    .filter((each) => each["type"] === "session")
    .map((each) => Number(each["storedBytes"]));
  expect(stored[2]).toBeLessThan((stored[0] ?? 0) / 2);
});

test("delete --local leaves the archive as it is; the next send compares and goes on", async () => {
  const { site, digests, names } = await withSessions(2, []);
  await using _site = site;
  const before = treeOf(site.archive);
  await run(site, "delete", volume, "--local");
  expect(treeOf(site.archive)).toEqual(before);
  changeImage(site.image(volume), mib / 8, 70, size);
  const more = await send(site, digests);
  await expectSessions(site, digests, keysOf([...names, ...more]));
});
