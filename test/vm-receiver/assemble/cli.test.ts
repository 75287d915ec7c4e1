// The program as its user meets it: finding volume and session, the output in all its forms, what it prints and what it
// exits with.

import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../../protocol/bytes.ts";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { chunk, commandLine, imageOf, noise, run, scratch, sha256Hex } from "./support.ts";

let archive: TestArchive;
let out: string;
const older = imageOf(20 * chunk + 5, { 3: noise(2) });
const newer = imageOf(22 * chunk, { 0: older, 21: noise(1) });

beforeEach(() => {
  archive = createTestArchive(join(scratch(), "archive"));
  archive.send({ "vm-work-private": older }, { tags: ["before-upgrade"], consistency: "crash" });
  archive.send({ "vm-work-private": newer, "vm-other": older }, { form: "tar" });
  out = scratch();
});

describe("output", () => {
  test("by default the volume's name in the working directory, and its digest on stdout", async () => {
    const ran = await run([archive.volumePath("vm-work-private")], { cwd: out });
    expect(ran.status).toBe(0);
    expect(readdirSync(out)).toEqual(["vm-work-private.img"]);
    expect(readFileSync(join(out, "vm-work-private.img")).equals(newer)).toBe(true);
    expect(statSync(join(out, "vm-work-private.img")).mode & 0o777).toBe(0o600);
    const printed = ran.stdout.toString();
    expect(printed).toContain(`SHA-256 of the image: ${sha256Hex(newer)}`);
    expect(printed).toContain("session: S_20261123-111500");
    expect(printed).toContain(join(out, "vm-work-private.img"));
  });

  test("an existing file stays as it is, unless --force", async () => {
    const path = join(out, "image");
    writeFileSync(path, "precious");
    const refused = await run([archive.volumePath("vm-work-private"), "-o", path]);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("output exists already");
    expect(refused.stderr).toContain("hint: name another file with -o, or replace this one with --force");
    expect(readFileSync(path, "utf8")).toBe("precious");
    const forced = await run([archive.volumePath("vm-work-private"), "-o", path, "--force"]);
    expect(forced.status).toBe(0);
    expect(readFileSync(path).equals(newer)).toBe(true);
    expect(readdirSync(out)).toEqual(["image"]);
  });

  test("a pipe gets every byte, holes as zeros, and nothing else", async () => {
    const ran = await run([archive.volumePath("vm-work-private"), "-o", "-"]);
    expect(ran.status).toBe(0);
    expect(ran.stdout.equals(newer)).toBe(true);
    expect(ran.stderr).toContain(`SHA-256 of the image: ${sha256Hex(newer)}`);
  });

  test("a file as standard output", () => {
    const path = join(out, "image");
    execFileSync("sh", [
      "-c",
      `${commandLine([archive.volumePath("vm-work-private"), "-o", "-", "-q"])} > '${path}'`,
    ]);
    expect(readFileSync(path).equals(newer)).toBe(true);
  });

  test("a slow reader", () => {
    const shell = `${commandLine([archive.volumePath("vm-work-private"), "-o", "-", "-q"])} | (sleep 1; sha256sum)`;
    expect(execFileSync("sh", ["-c", shell]).toString()).toContain(sha256Hex(newer));
  });

  test("a terminal is refused", () => {
    const ran = spawnSync("script", [
      "-qec",
      commandLine([archive.volumePath("vm-work-private"), "-o", "-"]),
      "/dev/null",
    ]);
    expect(ran.stdout.toString()).toContain("standard output is a terminal");
    expect(ran.status).toBe(1);
  });

  test.each(["/dev/null", "/"])("%s is refused", async (path) => {
    const ran = await run([archive.volumePath("vm-work-private"), "-o", path, "--force"]);
    expect(ran.stderr).toContain(path === "/" ? "is a directory" : "no regular file");
    expect(ran.status).toBe(1);
  });

  test("a link as the output is not followed, even with --force", async () => {
    writeFileSync(join(out, "precious"), "precious");
    symlinkSync("precious", join(out, "image"));
    expect((await run([archive.volumePath("vm-work-private"), "-o", join(out, "image")])).status).toBe(1);
    expect(
      (await run([archive.volumePath("vm-work-private"), "-o", join(out, "image"), "--force"])).status,
    ).toBe(0);
    expect(readFileSync(join(out, "precious"), "utf8")).toBe("precious");
    expect(readFileSync(join(out, "image")).equals(newer)).toBe(true);
  });

  test("a directory that is not there", async () => {
    const ran = await run([archive.volumePath("vm-work-private"), "-o", join(out, "nowhere", "image")]);
    expect(ran.stderr).toContain("directory of the output does not exist");
    expect(ran.status).toBe(1);
  });

  test("the longest name a file can have", async () => {
    const name = "ä".repeat(127);
    expect((await run([archive.volumePath("vm-work-private"), "-o", join(out, name)])).status).toBe(0);
    expect(readdirSync(out)).toEqual([name]);
  });

  test("--verify reads all and writes nothing", async () => {
    const ran = await run([archive.volumePath("vm-work-private"), "--verify"], { cwd: out });
    expect(ran.status).toBe(0);
    expect(ran.stdout.toString()).toContain(sha256Hex(newer));
    expect(readdirSync(out)).toEqual([]);
  });

  test("-q says nothing, --json says one object", async () => {
    const quiet = await run([archive.volumePath("vm-work-private"), "-q", "-o", join(out, "a")]);
    expect([quiet.stdout.toString(), quiet.stderr]).toEqual(["", ""]);
    const json = await run([archive.volumePath("vm-work-private"), "--json", "-o", join(out, "b")]);
    expect(JSON.parse(json.stdout.toString())).toMatchObject({
      type: "assembled",
      volume: "vm-work-private",
      session: "S_20261123-111500",
      size: newer.length,
      sha256: sha256Hex(newer),
      path: join(out, "b"),
    });
  });

  test("a bar with rate and time left on a terminal, none with --no-progress", () => {
    const large = { size: 3 * 2 ** 30, read: () => undefined };
    archive.send({ large });
    const bar = (extra: readonly string[]): string => {
      const command = commandLine([archive.volumePath("large"), "--verify", ...extra]);
      return spawnSync("script", ["-qec", command, "/dev/null"]).stdout.toString();
    };
    expect(bar([])).toMatch(/large {2}\d+% {2}.* of 3\.0 GiB {2}.*\/s {2}[\d:]+ left/);
    expect(bar(["--no-progress"])).not.toContain(" left");
  });
});

describe("finding the session", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["a label", "S_20261123-101500"],
    ["a beginning of a label", "S_20261123-10"],
    ["a tag", "before-upgrade"],
  ];
  test.each(cases)("%s", async (_, session) => {
    const ran = await run([archive.volumePath("vm-work-private"), "--session", session, "-o", "-", "-q"]);
    expect(ran.stdout.equals(older)).toBe(true);
  });
  test("a uid", async () => {
    const uid = toHex(archive.sessionsOf("vm-work-private")[0]!.uid);
    const ran = await run([archive.volumePath("vm-work-private"), "--session", uid, "-o", "-", "-q"]);
    expect(ran.stdout.equals(older)).toBe(true);
  });
  test("what fits several sessions, or none", async () => {
    const several = await run([archive.volumePath("vm-work-private"), "--session", "S_2026"], { cwd: out });
    expect(several.stderr).toContain("2 sessions fit, wanted one: S_2026");
    expect(several.stderr).toContain("S_20261123-101500, S_20261123-111500");
    expect(several.status).toBe(1);
    const none = await run([archive.volumePath("vm-work-private"), "--session", "S_19991231-235959"], {
      cwd: out,
    });
    expect(none.stderr).toContain("vm-work-private has no such session: S_19991231-235959");
    expect(none.status).toBe(1);
    expect(readdirSync(out)).toEqual([]);
  });
  test("--list shows them all, for people and for programs", async () => {
    const text = (await run([archive.volumePath("vm-work-private"), "--list"])).stdout.toString();
    expect(text).toMatch(
      /S_20261123-101500 {2}2026-11-23 10:15:00 UTC {2}1\.3 MiB .* dir +crash +before-upgrade/,
    );
    expect(text).toMatch(/S_20261123-111500 {2}2026-11-23 11:15:00 UTC .* tar +clean/);
    const json = (await run([archive.volumePath("vm-work-private"), "--list", "--json"])).stdout.toString();
    const objects = json
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(objects).toHaveLength(2);
    expect(objects[0]).toMatchObject({
      session: "S_20261123-101500",
      takenAt: Date.UTC(2026, 10, 23, 10, 15),
      size: older.length,
      form: "dir",
      consistency: "crash",
      tags: ["before-upgrade"],
    });
  });
});

describe("finding the volume", () => {
  test("by a relative path, a trailing slash, a link, from inside", async () => {
    const link = join(out, "link");
    symlinkSync(archive.volumePath("vm-work-private"), link);
    const inside = archive.volumePath("vm-work-private");
    const ways: readonly (readonly [string, string])[] = [
      ["vm-work-private/", archive.path],
      ["./vm-other/../vm-work-private//", archive.path],
      [".", inside],
      [link, out],
    ];
    for (const [path, cwd] of ways) {
      const ran = await run([path, "-o", "-", "-q"], { cwd });
      expect(ran.stderr).toBe("");
      expect(ran.stdout.equals(newer)).toBe(true);
    }
  });
  test("the archive itself: its volumes are named", async () => {
    const ran = await run([archive.path]);
    expect(ran.stderr).toContain("hint: volumes in the archive: vm-other, vm-work-private");
    expect(ran.status).toBe(1);
  });
  test("the archive itself with --list: its volumes, and the first error where some can't be read", async () => {
    const ran = await run([archive.path, "--list"]);
    const lines = ran.stdout.toString().trim().split("\n");
    expect(ran.status).toBe(0);
    expect(lines.map((line) => line.split(/ {2,}/))).toEqual([
      ["DIRECTORY", "SESSIONS", "NEWEST", "VOLUME"],
      ["vm-other", "1", "2026-11-23 11:15:00 UTC", "vm-other"],
      ["vm-work-private", "2", "2026-11-23 11:15:00 UTC", "vm-work-private"],
    ]);
    for (const index of ["vm-other/index.2", "copies/vm-other/index.2"]) {
      if (existsSync(join(archive.path, index))) writeFileSync(join(archive.path, index), "damaged");
    }
    const damaged = await run([archive.path, "--list", "--json"]);
    const [other, work] = damaged.stdout
      .toString()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(other).toMatchObject({
      directory: "vm-other",
      volume: null,
      error: expect.stringContaining("index"),
    });
    expect(work).toMatchObject({ directory: "vm-work-private", volume: "vm-work-private", sessions: 2 });
    expect([damaged.status, damaged.stderr]).toEqual([5, expect.stringContaining("index is damaged")]);
  });
  test("no such volume, no archive at all, a session instead of its volume", async () => {
    const none = await run([join(archive.path, "vm-wrok")]);
    expect(none.stderr).toContain("no such directory");
    expect(none.stderr).toContain("volumes in the archive: vm-other, vm-work-private");
    expect(none.status).toBe(1);
    mkdirSync(join(archive.path, "stranger"));
    const stranger = await run([join(archive.path, "stranger")]);
    expect(stranger.stderr).toContain("no volume of that name in head 2");
    expect(stranger.status).toBe(1);
    const empty = await run([out]);
    expect(empty.stderr).toContain("archive header is missing");
    expect(empty.status).toBe(1);
    const session = await run([archive.sessionsOf("vm-work-private")[0]!.path]);
    expect(session.stderr).toContain("--session S_20261123-101500");
    expect(session.status).toBe(1);
  });
  test("a name that no file system would take as it is", async () => {
    const name = "appvms/my vm/priväte.img";
    archive.send({ [name]: older });
    expect(archive.volumePath(name)).toMatch(/appvms%2Fmy%20vm%2Fpriv%C3%A4te\.img$/);
    const ran = await run([archive.volumePath(name)], { cwd: out });
    expect(ran.status).toBe(0);
    expect(ran.stdout.toString()).toContain(`volume:  ${name}`);
    expect(readFileSync(join(out, "priväte.img")).equals(older)).toBe(true);
  });
  test("a name with commands for the terminal in it is printed escaped", async () => {
    const ran = await run([join(archive.path, "x\u001b]0;owned\u0007\u202e")]);
    expect(ran.stderr).toContain("x\\u{1b}]0;owned\\u{7}\\u{202e}");
    expect(ran.stderr).not.toContain("\u001b");
  });
  test("and escaped in JSON, whatever the archive or a file in it is called", async () => {
    // CSI in one character, which JSON leaves as it is, a direction override, and one of two UTF-16 units.
    const name = "x\u009b2Jy\u202ez\u{e0001}";
    const own = createTestArchive(join(scratch(), "archive"));
    own.send({ [name]: older });
    writeFileSync(join(own.path, `${name}\u007f`), "");
    for (const args of [
      [own.volumePath(name), "--list"],
      [own.path, "--list"],
      [own.volumePath(name), "--verify"],
      [own.path, "--scrub"],
    ]) {
      const { stdout } = await run([...args, "--json"]);
      expect(stdout.toString(), args.join(" ")).toMatch(/^[ -~\n]+$/);
      expect(Object.values(JSON.parse(stdout.toString().split("\n")[0] ?? "") as object)).toContain(
        args[1] === "--scrub" ? `${name}\u007f` : name,
      );
    }
  });
});

describe("wrong arguments", () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ["none at all", []],
    ["an unknown option", ["VOLUME", "--scrubb"]],
    ["two volumes", ["VOLUME", "another"]],
    ["--list and --verify", ["VOLUME", "--list", "--verify"]],
    ["--verify and -o", ["VOLUME", "--verify", "-o", "x"]],
    ["--list and --session", ["VOLUME", "--list", "--session", "x"]],
    ["--list and -o", ["VOLUME", "--list", "-o", "x"]],
    ["--list and --force", ["VOLUME", "--list", "--force"]],
    ["--verify and --force", ["VOLUME", "--verify", "--force"]],
    ["-o - and --force", ["VOLUME", "-o", "-", "--force"]],
    ["-o without a file", ["VOLUME", "-o"]],
    ["an empty -o", ["VOLUME", "-o", ""]],
  ];
  test.each(cases)("%s: exit status 2 and where to read more", async (_, args) => {
    const ran = await run(
      args.map((each) => (each === "VOLUME" ? archive.volumePath("vm-other") : each)),
      { cwd: out },
    );
    expect(ran.stderr).toMatch(/^spbk-assemble: error: /);
    expect(ran.stderr).toContain("spbk-assemble: hint: spbk-assemble --help");
    expect(ran.status).toBe(2);
    expect(readdirSync(out)).toEqual([]);
  });
  test.each([
    ["--head", "x", "wanted the number of a head"],
    ["--head", "0", "wanted the number of a head"],
    ["--head", "1e1", "wanted the number of a head"],
    ["--key-fd", "x", "wanted the number of a descriptor"],
  ])("%s %s: what was typed is shown", async (option, typed, wanted) => {
    const ran = await run([archive.volumePath("vm-other"), option, typed]);
    expect(ran.stderr).toContain(`error: ${option}: found «${typed}», ${wanted}\n`);
    expect(ran.status).toBe(2);
  });
  test("a descriptor that is not open, a file that is not there: said, and no bug of ours", async () => {
    for (const [option, from, said] of [
      ["--key-fd", "77", "key can't be read: EBADF, descriptor 77"],
      ["--key", "absent", "key can't be read: ENOENT, absent"],
    ] as const) {
      const ran = await run([archive.path, "--list", option, from]);
      expect([ran.status, ran.stderr]).toEqual([2, `spbk-assemble: error: ${said}\n`]);
    }
  });
  test("--help and --version", async () => {
    const help = await run(["--help"]);
    expect(help.status).toBe(0);
    for (const option of ["--session", "--output", "--force", "--list", "--verify", "--json", "--quiet"]) {
      expect(help.stdout.toString()).toContain(option);
    }
    const version = await run(["--version"]);
    expect([version.status, version.stdout.toString().trim()]).toEqual([0, "0.1.0"]);
  });
});

test.skipIf(process.getuid?.() !== 0)(
  "an archive that may not be read (needs root to become someone else)",
  () => {
    for (const each of ["heads", "copies/heads"]) chmodSync(join(archive.path, each, "2"), 0o600);
    for (const each of [join(archive.path, ".."), archive.path]) chmodSync(each, 0o755);
    chmodSync(join(archive.path, "heads"), 0o755);
    chmodSync(archive.volumePath("vm-other"), 0o755);
    const command = commandLine([archive.volumePath("vm-other"), "--list"]);
    const ran = spawnSync("setpriv", [
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "sh",
      "-c",
      command,
    ]);
    expect(ran.stderr.toString()).toContain("head 2 can't be read: EACCES");
    expect(ran.status).toBe(1);
  },
);
