// A backup VM that lies where one command and one state (hostile.test.ts) don't show what comes of it: of an archive that
// is large, lacks chunks or is not known yet, in a repair, to commands that change records and keys, and where only the
// next command finds it out. The same holds as there.

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listHeadBytes, listRecordBytes } from "../../protocol/archive/list-file.ts";
import { digestBytes } from "../../protocol/archive/types.ts";
import { type Bases, bases } from "../support/hostile/bases.ts";
import { expectDecent, expectGoesOn, locks, namesIn } from "../support/hostile/expectations.ts";
import { contentsOf, type HostileSite, volume } from "../support/hostile/site.ts";

const send = ["send"];
const list = ["list", volume];
const check = ["check"];
const prune = ["prune", "--keep-last", "1"];

let unsealed: Bases;
let sealed: Bases;
/** A sealed one with two passphrases. */
let keyed: HostileSite;

beforeAll(async () => {
  [unsealed, sealed] = await Promise.all([bases("off"), bases("on")]);
  keyed = sealed.known.copy();
  writeFileSync(keyed.passphraseFile, "another horse battery staple\n");
  await keyed.must("key", "--add", "--passphrase-file", keyed.passphraseFile);
});
afterAll(() => {
  for (const each of [unsealed, sealed, keyed]) each[Symbol.dispose]();
});

function withoutLocks(files: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).filter(([path]) => !locks.test(path) && path !== "owner"));
}

describe("what is said of many containers", () => {
  test("extras in each of them fill no memory", async () => {
    using site = unsealed.first.copy();
    for (let seed = 1; seed <= 10; seed++) {
      site.change(seed);
      await site.send();
    }
    const ended = await site.run(check, "as many extras as there may be, of every container");
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stderr).toMatch(/work\.img: 65536 files that the archive does not name/);
    await expectDecent(ended, site);
  });
});

describe("a chunk that dom0 knows to be lost", () => {
  /** Two sessions need it, the volume still holds it, and a check has noted it. */
  async function lacking(): Promise<HostileSite> {
    const site = unsealed.first.copy();
    await site.send();
    site.change(1);
    await site.send();
    const directory = join(site.archive, volume);
    const [first, second] = namesIn(site)
      .toSorted()
      .map((name) => {
        const files = readdirSync(join(directory, name), { recursive: true, encoding: "utf8" });
        return files.filter((path) => /\/x[0-9a-f]{16}$/.test(path)).map((path) => join(name, path));
      });
    const isOld = (path: string): boolean =>
      second?.some((each) => basename(each) === basename(path)) === false;
    const lost = join(directory, first?.find(isOld) ?? "");
    writeFileSync(lost, readFileSync(lost).fill(0, 20, 30));
    expect((await site.run(check)).code).toBe(5);
    return site;
  }

  test.each([
    ["send", send, /stay as they are: manifest\.\d of S_[\d-]+: .*; run check/],
    ["check", check, /2 of 2 sessions are damaged/],
  ])("%s that can't read the manifests does not forget it", async (_, command, says) => {
    using site = await lacking();
    const ended = await site.run(command, "manifests that can't be read, for whoever reads only");
    expect(ended, ended.stderr).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(says);
    await expectDecent(ended, site);
    const sent = await site.run(["send", "--tag", "again"]);
    expect(sent.stderr).toMatch(/put back what was lost: 1 chunk/);
    expect((await site.run(check)).code).toBe(0);
  });

  test("neither does a repair that can't read them any more", async () => {
    using site = await lacking();
    const repair = ["check", "--repair", "--yes"];
    const ended = await site.run(repair, "manifests that can't be read, once something was put back");
    expect(ended, ended.stderr).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(/what was to be put back was not: S_[\d-]+, .* stay as they are/);
    await expectDecent(ended, site);
    expect((await site.run(send)).stderr).toMatch(/put back what was lost: 1 chunk/);
    expect((await site.run(check)).code).toBe(0);
  });
});

const repairing = ["check", "--repair", "--yes"];

/** Lowers a bound of the built agent that is too high for a test. */
function lower(site: HostileSite, name: string, from: number, to: number): void {
  const program = join(site.directory, "lib", "sparsebak-later.mjs");
  const text = readFileSync(program, "utf8");
  expect(text).toContain(`${name} = ${from}`);
  writeFileSync(program, text.replace(`${name} = ${from}`, `${name} = ${to}`));
}

describe("a repair", () => {
  test("makes all lists again without having them in memory", async () => {
    using site = unsealed.first.copy();
    for (const seed of [21, 22]) {
      site.change(seed);
      await site.send();
    }
    lower(site, "mostSorted", 524_288, 3);
    const lists = (): readonly string[] =>
      readdirSync(site.archive, { recursive: true, encoding: "utf8" })
        .filter((path) => /^work\.img\/S_[^/]*\/list/.test(path))
        .sort();
    const recordsOf = (path: string): Uint8Array =>
      readFileSync(join(site.archive, path)).subarray(listHeadBytes, -digestBytes);
    const before = lists().map(recordsOf);
    expect(Math.min(...before.map((each) => each.length))).toBeGreaterThan(2 * listRecordBytes);
    expect(before.length).toBeGreaterThan(1);
    for (const path of lists()) rmSync(join(site.archive, path));
    await site.must(...repairing);
    expect(lists().map(recordsOf)).toEqual(before);
    await site.must("check", "--read-data");
    expect(await site.differing()).toEqual([]);
  });

  test("ends, though what it puts back is lost again each time", async () => {
    using site = unsealed.first.copy();
    await site.send();
    lower(site, "mostLost", 65_536, 1);
    const ended = await site.run(repairing, "chunks that are lost as often as they are put back");
    expect(ended, ended.stderr).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(/as much was lost again as was put back; run check --repair again\n$/);
    await expectDecent(ended, site);
    expect((await site.run(repairing)).code).toBe(0);
  });
});

describe("what is found out later", () => {
  test("a commit that never was is found out by the next command, and nothing is sent on top of it", async () => {
    using site = unsealed.known.copy();
    const ended = await site.run(send, "not committed, and said to be");
    expect(ended).toMatchObject({ code: 0 });
    await expectDecent(ended, site);
    const after = await site.run(list);
    expect(after, after.stderr).toMatchObject({ code: 5 });
    expect(after.stderr).toMatch(/found an older state \(generation 4\), wanted generation 5/);
    expect((await site.run(send)).code).toBe(5);
    expect(await site.differing()).toEqual([]);
  });

  test("without its header, what only reads goes on with the one that dom0 has kept", async () => {
    using site = sealed.known.copy();
    for (const lie of [
      "archive header altered",
      "archive header with another code",
      "another archive's archive header",
    ]) {
      const ended = await site.run(list, lie);
      expect(ended, ended.stderr).toMatchObject({ code: 0 });
      expect(ended.stderr).toMatch(/warning: archive header: .*; gone on with dom0's own copy/);
      await expectDecent(ended, site);
    }
  });

  test("status asks nobody", async () => {
    using site = sealed.known.copy();
    const ended = await site.run(["status"], "no word");
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stdout).toMatch(/work\.img/);
  });
});

describe("an archive that dom0 does not know", () => {
  test.concurrent.each([
    ["hello of an archive out of nowhere", 5],
    ["no word", 4],
    ["a put that took another count", 1],
    ["committed another generation", 5],
    ["committed another head", 5],
    ["committed, and not a word of it", 4],
    ["not committed, and not a word of it", 4],
  ])("%s", async (lie, status) => {
    using site = unsealed.first.copy();
    if (status === 4) site.stallAfter(5);
    const ended = await site.run(send, lie);
    expect(ended, ended.stderr).toMatchObject({ code: status });
    await expectDecent(ended, site);
    site.stallAfter(60);
    await expectGoesOn(site);
    const names = readdirSync(join(site.archive, volume));
    expect(names.filter((name) => name.startsWith("S_"))).toHaveLength(1);
  });
});

describe("pruning", () => {
  test.concurrent.each([
    ["committed another generation", 5, 1],
    ["committed, and not a word of it", 4, 1],
    ["not committed, and not a word of it", 4, 3],
  ])("%s", async (lie, status, left) => {
    using site = sealed.known.copy();
    if (status === 4) site.stallAfter(5);
    const ended = await site.run(prune, lie);
    expect(ended, ended.stderr).toMatchObject({ code: status });
    await expectDecent(ended, site);
    site.stallAfter(60);
    for (const session of [...site.sessions.keys()].slice(0, 3 - left)) site.sessions.delete(session);
    await expectGoesOn(site);
  });
});

describe("commands that change records and keys", () => {
  const reads = [
    ["key", "--list"],
    ["key", "--export", volume],
  ];
  const writes = [
    ["key", "--remove", "1"],
    ["tag", volume, "another"],
    ["rename", volume, "renamed.img"],
    ["delete", "--yes", volume],
  ];

  test.concurrent.each([
    "head forged, and announced so",
    "archive header altered",
    "another archive by the uuid of this one",
  ])("%s", async (lie) => {
    using site = keyed.copy();
    const [state, archive] = [contentsOf(site.state), contentsOf(site.archive)];
    // What only reads goes on with the header that dom0 has kept.
    for (const command of lie === "archive header altered" ? writes : [...reads, ...writes]) {
      const ended = await site.run(command, lie);
      // A lost header is to be put back before anything is changed, and the receiver says that it has one.
      const code = lie === "archive header altered" ? 1 : 5;
      expect(ended, `${command.join(" ")}: ${ended.stderr}`).toMatchObject({ code, stdout: "" });
      await expectDecent(ended, site);
      expect(contentsOf(site.archive)).toEqual(archive);
      expect(withoutLocks(contentsOf(site.state))).toEqual(withoutLocks(state));
    }
  });

  test.concurrent.each(
    writes.flatMap((command) =>
      [
        ["committed another head", 5],
        ["not committed, and not a word of it", 4],
      ].map(([lie, status]) => [command.join(" "), String(lie), Number(status), command] as const),
    ),
  )("%s: %s", async (_, lie, status, command) => {
    using site = keyed.copy();
    if (status === 4) site.stallAfter(5);
    const ended = await site.run(command, lie);
    expect(ended, ended.stderr).toMatchObject({ code: status });
    await expectDecent(ended, site);
    site.stallAfter(60);
    await site.must("check");
    // What was not committed can be done now.
    if (status === 4) await site.must(...command);
  });
});

describe("taking an archive over", () => {
  test.concurrent.each([
    ["head forged, and announced so", 5],
    ["archive header altered", 5],
    ["another archive's archive header", 5],
    ["an archive that is sealed otherwise", 1],
    ["index altered", 5],
    ["another archive's index", 5],
    ["hello of a generation that never was", 5],
    ["endless index", 1],
    ["no word", 4],
  ])("%s", async (lie, status) => {
    using site = sealed.known.copy();
    // The recovery form, which takes no memory to try.
    writeFileSync(
      site.passphraseFile,
      ((await site.must("key", "--show-recovery")).match(/^[0-9A-Z]{4}(?:-[0-9A-Z]{4})+$/gm) ?? []).join("-"),
    );
    rmSync(join(site.state, "archives"), { recursive: true });
    if (status === 4) site.stallAfter(5);
    const takeOver = ["init", "--join", "--passphrase-file", site.passphraseFile];
    const archive = contentsOf(site.archive);
    const ended = await site.run(takeOver, lie);
    expect(ended, ended.stderr).toMatchObject({ code: status });
    await expectDecent(ended, site);
    expect(contentsOf(site.archive)).toEqual(archive);
    // Neither a key nor a record of what was not verified.
    expect(Object.keys(withoutLocks(contentsOf(site.state)))).toEqual(["sparsebak.ini"]);
    site.stallAfter(60);
    await site.must(...takeOver);
    await site.must("check");
  });
});
