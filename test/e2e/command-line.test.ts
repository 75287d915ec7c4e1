// What is typed, and where output goes: mistakes have exit status 2 and change nothing, and who reads the output, or
// doesn't, is not what a backup depends on.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeImage } from "../../bench/image.ts";
import { makeSite, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const names = ["one", "two.img"] as const;

async function siteOfTwo(): Promise<Site> {
  const site = await makeSite({ volumes: names, local: true, driveBytes: 128 * mib });
  names.forEach((name, seed) => makeImage(site.image(name), { size: 4 * mib, dataBytes: mib, seed }));
  return site;
}

async function sessions(site: Site, name: string): Promise<readonly string[]> {
  const { stdout } = await site.sparsebak(["--json", "list", name]);
  const lines = stdout.split("\n").filter(Boolean);
  return lines
    .map((line) => JSON.parse(line) as { type: string; name: string })
    .flatMap((each) => (each.type === "session" ? [each.name] : []));
}

/** The programs in a shell, as a user has them. */
function inShell(site: Site, line: string): { readonly status: number | null; readonly stderr: string } {
  return spawnSync("bash", ["-o", "pipefail", "-c", line], {
    encoding: "utf8",
    env: {
      ...process.env,
      sparsebak: `${process.execPath} ${site.program("sparsebak.mjs")} -c ${site.ini}`,
    },
  });
}

test.each([
  [["send", "--tag"], /tag/],
  [["list", "--session"], /session/],
  [["send", "--dest"], /dest/],
  [["list", "--frob"], /frob/],
  [[], /which command/],
  [["send", "--tag", "S_20260101-000000"], /does not begin as sessions do/],
  [
    ["send", ...Array.from({ length: 17 }, (_, i) => ["--tag", `t${i}`]).flat()],
    /17 tags, wanted at most 16/,
  ],
  [["tag", "one", "S_x"], /does not begin as sessions do/],
  [["receive", "*", "--save-to", "out.img", "--force"], /pattern «\*»/],
  [["receive", "one", "--force"], /--force goes with --save-to/],
  [["receive", "one", "--no-base", "--in-place"], /--no-base goes with neither/],
  [["receive", "one", "--no-base", "--save-to", "out.img"], /--no-base goes with neither/],
  [["receive", "--confirm", "one", "--session", "x"], /--confirm restores nothing/],
  [["receive", "--confirm", "one", "--no-base"], /--confirm restores nothing/],
  [["receive", "--confirm", "one", "--dest", "default"], /--confirm reaches no destination, --dest does not/],
  [
    ["receive", "one", "--save-to", "-"],
    /--save-to: found «-», wanted a file or a block device[^]*is \.\/-$/m,
  ],
  [["prune", "one", "--keep-last", "x"], /--keep-last: found «x», wanted 0 to 1000000/],
  [["prune", "one", "--keep-daily", "1.5"], /--keep-daily: found «1\.5», wanted/],
  [["prune", "one", "--keep-weekly", "0x10"], /--keep-weekly: found «0x10», wanted/],
  [["prune", "one", "--keep-last=-1"], /--keep-last: found «-1», wanted/],
  [["prune", "one", "--keep-last", "1", "--keep-last", "2"], /--keep-last: found «1,2», wanted/],
  [["check", "--yes"], /--yes goes with --repair/],
  [["monitor", "--dest", "default"], /--dest does not go with it/],
  [["add", "one", "--dest", "default"], /--dest does not go with it/],
  [["status", "--dest", "usb"], /no destination «usb»/],
  [["list", "--session", "S_20261126"], /found no volume, wanted one or more, or --all/],
])("%j: status 2", async (args, message) => {
  await using site = await siteOfTwo();
  const ended = await site.sparsebak(args);
  expect(ended, ended.stderr).toMatchObject({ code: 2, stdout: "" });
  expect(ended.stderr).toMatch(/^sparsebak: error: /);
  expect(ended.stderr).toMatch(message);
  expect(readdirSync(site.drive)).not.toContain("backups");
  expect(existsSync(join(site.directory, "out.img"))).toBe(false);
});

describe("add, where something lies under the name of the new settings", () => {
  test("of a run that was killed: it goes, and nothing is left", async () => {
    await using site = await siteOfTwo();
    makeImage(site.image("three"), { size: mib, dataBytes: mib, seed: 3 });
    const before = readFileSync(site.ini, "utf8");
    writeFileSync(`${site.ini}.new`, "[var]\nloc");
    const ended = await site.sparsebak(["add", "three"]);
    expect(ended, ended.stderr).toMatchObject({ code: 0, stderr: "" });
    expect(readFileSync(site.ini, "utf8")).toBe(`${before}three = enable\n`);
    expect(existsSync(`${site.ini}.new`)).toBe(false);
  });

  test("a link: refused, not followed, and the hint says what to write", async () => {
    await using site = await siteOfTwo();
    makeImage(site.image("three"), { size: mib, dataBytes: mib, seed: 3 });
    const before = readFileSync(site.ini, "utf8");
    const precious = join(site.directory, "precious");
    writeFileSync(precious, "precious");
    symlinkSync(precious, `${site.ini}.new`);
    const ended = await site.sparsebak(["add", "three"]);
    expect(ended).toMatchObject({ code: 1, stdout: "" });
    expect(ended.stderr).toMatch(/error: add: write \S+: found \S+\.new, which is no regular file/);
    expect(ended.stderr).toContain("hint: add to [volumes]: three = enable");
    expect(readFileSync(site.ini, "utf8")).toBe(before);
    expect(readFileSync(precious, "utf8")).toBe("precious");
  });
});

describe("standard output", () => {
  test("a reader that goes away ends nothing", async () => {
    await using site = await siteOfTwo();
    const ended = inShell(site, "$sparsebak -u send | true");
    expect(ended).toMatchObject({ status: 0 });
    expect(ended.stderr).not.toMatch(/EPIPE|at .*\.mjs/);
    for (const name of names) expect((await sessions(site, name)).length).toBe(1);
  });

  test("what can't be printed is told, and is status 1; the backup is there", async () => {
    await using site = await siteOfTwo();
    const ended = inShell(site, "$sparsebak -u send >/dev/full");
    expect(ended).toMatchObject({ status: 1 });
    expect(ended.stderr).toMatch(/^sparsebak: error: print to standard output: ENOSPC/m);
    expect(ended.stderr).not.toMatch(/at .*\.mjs/);
    for (const name of names) expect((await sessions(site, name)).length).toBe(1);
  });
});

test("--all takes what the settings enable too, whatever it is called; and says when there is nothing", async () => {
  await using site = await siteOfTwo();
  const ended = await site.sparsebak(["-u", "-a", "send"]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  for (const name of names) expect((await sessions(site, name)).length).toBe(1);
  const empty = join(site.state, "empty.ini");
  writeFileSync(
    empty,
    `[var]\nlocalpath = ${site.state}\ndestvm = none\ndestmountpoint = /mnt\ndestdir = x\n`,
  );
  const nothing = await site.sparsebak(["-a", "send"], { ini: empty });
  expect(nothing).toMatchObject({ code: 2 });
  expect(nothing.stderr).toMatch(/--all: found no volume/);
});

test("one send gives its volumes one name, also where that of the second is taken", async () => {
  await using site = await siteOfTwo();
  const [one, two] = names;
  // A clock that stands still: every run begins in the same second.
  const clock = "--import 'data:text/javascript,Date.now=()=>1795701600000'";
  const program = `${process.execPath} ${clock} ${site.program("sparsebak.mjs")} -c ${site.ini} -u`;
  expect(inShell(site, `${program} send ${one}`)).toMatchObject({ status: 0 });
  expect(inShell(site, `${program} send ${two} ${one} --tag t`)).toMatchObject({ status: 0 });
  expect(await sessions(site, one)).toEqual(["S_20261126-140000", "S_20261126-140001"]);
  expect(await sessions(site, two)).toEqual(["S_20261126-140001"]);
});

test("--verbose tells of the programs that are run, on stderr", async () => {
  await using site = await siteOfTwo();
  const ended = await site.sparsebak(["-v", "-u", "send"]);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stderr).toMatch(/^sparsebak: runs \/.*sparsebak\.Send/m);
});

test("a name that is mistyped is told of, and does not stay", async () => {
  await using site = await siteOfTwo();
  const ended = await site.sparsebak(["-u", "send", "nope", "one"]);
  expect(ended).toMatchObject({ code: 3 });
  expect(ended.stderr).toMatch(/nope: there is no such volume/);
  const status = await site.sparsebak(["status"]);
  expect(status.stdout).toMatch(/^one \(default\): S_/m);
  expect(status.stdout).not.toMatch(/nope/);
});

test("list --all --session: all about one session of the volumes that have it", async () => {
  await using site = await siteOfTwo();
  expect(await site.sparsebak(["-u", "send", "--tag", "both"])).toMatchObject({ code: 0 });
  expect(await site.sparsebak(["-u", "tag", "one", "alone"])).toMatchObject({ code: 0 });
  const titles = async (wanted: string): Promise<readonly string[]> => {
    const ended = await site.sparsebak(["list", "--all", "--session", wanted]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    return ended.stdout.match(/^\S+ S_[\d-]+$/gm)?.map((each) => each.replace(/ .*/, "")) ?? [];
  };
  expect(await titles("both")).toEqual([...names]);
  expect(await titles("alone")).toEqual(["one"]);
  const none = await site.sparsebak(["list", "--all", "--session", "nobody"]);
  expect(none).toMatchObject({ code: 1, stdout: "" });
  expect(none.stderr).toContain("list: there is no session nobody");
});

test("status knows a session that this machine has not sent, after the state was lost", async () => {
  await using site = await siteOfTwo();
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  for (const each of readdirSync(join(site.state, "archives", "default", "volumes")))
    rmSync(join(site.state, "archives", "default", "volumes", each, "last"));
  expect((await site.sparsebak(["status"])).stdout).toMatch(/^one \(default\): no session known here/m);
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 0 });
  expect((await site.sparsebak(["status"])).stdout).toMatch(/^one \(default\): S_.*, current/m);
});
