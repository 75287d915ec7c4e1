// Passphrases and recovery forms through the built programs: typed at a terminal, in files, right, mistyped, changed
// (docs/keys.md, K2 to K7, K13).

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeImage } from "../../bench/image.ts";
import { writeRecord } from "../../dom0-agent/state/record.ts";
import { atTerminal } from "../support/at-terminal.ts";
import { savedSite } from "../support/site-kills.ts";
import { type Ended, makeSite, type Site, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "work.img";
const looksLikeForm = "correct horse battery staple river window garden yellow monk iron";
const form = /^([0-9A-Z]{4}-){13}[0-9A-Z]{4}$/m;
const known = "Passphrase, or recovery form of the key: ";

async function made(sealed: true | "later", settings: readonly string[] = []): Promise<Site> {
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 64 * mib,
    sealed,
    settings: ["chunk-size = 64K", ...settings],
  });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 21 });
  return site;
}
function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}
function fileWith(site: Site, text: string): string {
  const path = join(site.directory, "typed");
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
function forget(site: Site): void {
  rmSync(join(site.state, "archives"), { recursive: true });
}

test("what looks like a recovery form is no new passphrase, and is tried as both where one is known", async () => {
  await using site = await made("later");
  const file = fileWith(site, `${looksLikeForm}\n`);
  const init = ["-u", "init", "--passphrase-file"];
  expect(await site.sparsebak([...init, file])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("looks like a recovery form"),
  });
  expect(readdirSync(site.drive, { recursive: true })).not.toContain("backups/heads/1");
  must(await site.sparsebak([...init, site.passphraseFile]));
  must(await site.sparsebak(["-u", "send"]));
  expect(await site.sparsebak(["-u", "key", "--add", "--passphrase-file", file])).toMatchObject({ code: 2 });

  const mistyped = { code: 1, stderr: expect.stringContaining("recovery form: a character is wrong") };
  expect(
    await site.spbkAssemble([site.volumeDirectory(volume), "--passphrase-file", file, "--list"]),
  ).toMatchObject(mistyped);
  forget(site);
  expect(await site.sparsebak([...init, file, "--join"])).toMatchObject(mistyped);
  must(await site.sparsebak([...init, site.passphraseFile, "--join"]));
});

test("the recovery form is shown in one line, and pasted into one prompt", async () => {
  await using site = await made(true);
  must(await site.sparsebak(["-u", "send"]));
  const [shown = ""] = form.exec(must(await site.sparsebak(["key", "--show-recovery"])).stdout) ?? [];
  expect(shown).toHaveLength(69);
  const output = join(site.directory, "out.img");
  const assembled = await atTerminal(
    site,
    "spbk-assemble",
    [site.volumeDirectory(volume), "-o", output, "-q"],
    [[known, shown.toLowerCase()]],
  );
  expect(assembled.code, assembled.output).toBe(0);
  expect(assembled.output.toUpperCase()).not.toContain(shown.slice(-4));
  expect(sha256Of(output)).toBe(sha256Of(site.image(volume)));

  forget(site);
  const joined = await atTerminal(site, "sparsebak", ["init", "--join"], [[known, shown]]);
  expect(joined.code, joined.output).toBe(0);
  expect(joined.output).not.toContain(shown.slice(-4));
  // In a file it may have been broken.
  forget(site);
  const file = fileWith(site, `${shown.slice(0, 34)}\n${shown.slice(35)}\n`);
  must(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", file]));
  expect(must(await site.sparsebak(["verify", volume])).stdout).toContain("every chunk is right");
});

test("with nothing but the drive and the passphrase, the archive's path tells its volumes by name", async () => {
  await using site = await made(true);
  must(await site.sparsebak(["-u", "send"]));
  const [directory = ""] = site.volumeDirectory(volume).split("/").slice(-1);
  expect(directory).toMatch(/^[0-9a-f]{32}$/);
  const listed = must(
    await site.spbkAssemble([site.archive, "--list", "--passphrase-file", site.passphraseFile]),
  );
  expect(listed.stdout).toMatch(new RegExp(`^${directory} +1 .* UTC  ${volume}$`, "m"));
  const typed = await atTerminal(site, "spbk-assemble", [site.archive, "--list"], [[known, site.passphrase]]);
  expect(typed.code, typed.output).toBe(0);
  expect(typed.output).toMatch(new RegExp(`^${directory} +1 .* UTC  ${volume}\r?$`, "m"));
  expect(await site.spbkAssemble([site.archive, "--list"])).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringContaining("no key was given"),
  });
});

test("the key of an archive that is not sealed: what it is good for is said, and that it opens nothing", async () => {
  await using site = await made("later", ["encryption = off"]);
  must(await site.sparsebak(["-u", "send"]));
  const { stdout } = must(await site.sparsebak(["key", "--show-recovery"]));
  expect(stdout).toMatch(/not sealed: anybody can read it without/);
  expect(stdout).not.toMatch(/can read the archive|nobody can/);
  expect(must(await site.sparsebak(["key", "--list"])).stdout).not.toMatch(/opens/);
  const [shown = ""] = form.exec(stdout) ?? [];
  forget(site);
  // As it says.
  must(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", fileWith(site, shown)]));
});

test("a passphrase that is typed opens everywhere, and is never shown", async () => {
  await using site = await made("later");
  const typed = "typed at a terminal";
  const twice = [
    ["New passphrase: ", typed],
    ["The same passphrase again: ", typed],
  ] as const;
  const sent = await atTerminal(site, "sparsebak", ["send"], twice);
  expect(sent.code, sent.output).toBe(0);
  expect(sent.output).toMatch(/Recovery form/);

  const output = join(site.directory, "out.img");
  const args = [site.volumeDirectory(volume), "-o", output, "-q"];
  const wrong = await atTerminal(site, "spbk-assemble", args, [[known, "something else"]]);
  expect(wrong.code, wrong.output).toBe(1);
  expect(wrong.output).toContain("does not open the archive");
  const assembled = await atTerminal(site, "spbk-assemble", args, [[known, typed]]);
  expect(assembled.code, assembled.output).toBe(0);
  expect(sha256Of(output)).toBe(sha256Of(site.image(volume)));

  forget(site);
  const joined = await atTerminal(site, "sparsebak", ["init", "--join"], [[known, typed]]);
  expect(joined.code, joined.output).toBe(0);
  for (const each of [sent, wrong, assembled, joined]) expect(each.output).not.toContain(typed);
  must(await site.sparsebak(["-u", "send"]));
});

test("what can't be taken as it was typed is refused, and not taken without it", async () => {
  await using site = await made("later");
  const [arrow, eraseLine] = ["\u001b[A", "\u0015"];
  const refused = { code: 1, output: expect.stringContaining("no character") };
  const tooLong = { code: 1, output: expect.stringContaining("more than 1024 characters") };
  const init = async (typed: string): ReturnType<typeof atTerminal> =>
    atTerminal(
      site,
      "sparsebak",
      ["init"],
      [
        ["New passphrase: ", typed],
        ["The same passphrase again: ", typed],
      ],
    );
  for (const key of [arrow, "\t"]) expect(await init(`a passphrase${key} with it`)).toMatchObject(refused);
  expect(await init("x".repeat(1025))).toMatchObject(tooLong);
  expect(readdirSync(site.drive, { recursive: true })).not.toContain("backups/heads/1");
  const after = await init(`something${arrow}${eraseLine}${site.passphrase}`);
  expect(after.code, after.output).toBe(0);
  must(await site.sparsebak(["-u", "send"]));

  const directory = site.volumeDirectory(volume);
  const list = async (typed: string): ReturnType<typeof atTerminal> =>
    atTerminal(site, "spbk-assemble", [directory, "--list"], [[known, typed]]);
  for (const key of [arrow, "\t"]) expect(await list(`${site.passphrase}${key}`)).toMatchObject(refused);
  expect(await list("x".repeat(1025))).toMatchObject(tooLong);
  const listed = await list(`something${arrow}${eraseLine}${site.passphrase}`);
  expect(listed.code, listed.output).toBe(0);
});

test("the recovery form of a new key is shown on a terminal, and gets into no log unless it is asked for", async () => {
  await using site = await made("later");
  const partOfForm = /([0-9A-Z]{4}-){3}/;
  for (const options of [[], ["-q"], ["--json"]]) {
    const { stdout, stderr } = must(await site.sparsebak([...options, "init", "--no-passphrase"]));
    expect(stdout + stderr).not.toMatch(partOfForm);
    if (options[0] !== "-q") expect(stdout + stderr).toContain("sparsebak key --show-recovery");
    forget(site);
    rmSync(site.archive, { recursive: true });
  }
  const log = join(site.directory, "log");
  const sent = await atTerminal(
    site,
    "sparsebak",
    ["send", `>${log}`],
    [
      ["New passphrase: ", site.passphrase],
      ["The same passphrase again: ", site.passphrase],
    ],
  );
  expect(sent.code, sent.output).toBe(0);
  expect(sent.output + readFileSync(log, "utf8")).not.toMatch(partOfForm);
  expect(sent.output).toContain("sparsebak key --show-recovery");
  expect(must(await site.sparsebak(["-q", "key", "--show-recovery"])).stdout).toMatch(form);
});

test("init after one that was cut off behind its commit: said, its key shown, other passphrases refused", async () => {
  await using site = await made(true);
  const record = join(site.state, "archives", "default", "archive");
  const [text = ""] = readFileSync(record, "utf8").split("\n");
  const zeros = "00".repeat(32);
  // As a run leaves it that dies before it writes the commit down; and as one whose record is lost.
  const cutOff = [
    () =>
      writeRecord(record, { ...(JSON.parse(text) as object), generation: 0, digest: zeros, chain: zeros }),
    () => rmSync(record),
  ];
  for (const cut of cutOff) {
    for (const option of [["--passphrase-file", site.passphraseFile], ["--no-passphrase"]]) {
      cut();
      expect(await site.sparsebak(["-u", "init", ...option])).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringMatching(
          /made by an earlier run; its passphrases are those of then[^]*key --list/,
        ),
      });
    }
    cut();
    const again = must(await site.sparsebak(["init"]));
    expect(again.stdout).toContain("made by an earlier run of this dom0; gone on with");
    expect(again.stderr).toContain("sparsebak key --show-recovery");
  }
  rmSync(record);
  const shown = await atTerminal(site, "sparsebak", ["init"], []);
  expect(shown.code, shown.output).toBe(0);
  expect(shown.output).toMatch(form);
});

test("passphrases are added, changed and removed, and what is no number of one changes nothing", async () => {
  await using site = await made(true);
  must(await site.sparsebak(["-u", "send"]));
  const directory = site.volumeDirectory(volume);
  const opens = async (passphrase: string): Promise<number | null> =>
    (await site.spbkAssemble([directory, "--passphrase-file", fileWith(site, passphrase), "--list"])).code;
  const [first, second, third] = [site.passphrase, "the second of them", "the third of them"];

  // From a descriptor, and at the terminal.
  const descriptor = ["key", "--add", "--passphrase-file", "/dev/fd/3", `3<${fileWith(site, second)}`];
  const added = await atTerminal(site, "sparsebak", ["-u", ...descriptor], []);
  expect(added.code, added.output).toBe(0);
  expect(added.output).toContain("2 passphrases");
  expect(await opens(second)).toBe(0);
  const reader = [directory, "--list", "--passphrase-file", "/dev/fd/3"];
  for (const [passphrase, code, said] of [
    [second, 0, `${volume}: 1 session`],
    ["some other", 1, "does not open the archive"],
  ] as const) {
    const listed = await atTerminal(
      site,
      "spbk-assemble",
      [...reader, `3<${fileWith(site, passphrase)}`],
      [],
    );
    expect(listed).toMatchObject({ code, output: expect.stringContaining(said) });
  }
  const differing = await atTerminal(
    site,
    "sparsebak",
    ["key", "--add"],
    [
      ["New passphrase: ", third],
      ["The same passphrase again: ", `${third}.`],
    ],
  );
  expect(differing).toMatchObject({ code: 1, output: expect.stringContaining("not the same") });

  const heads = readdirSync(join(site.archive, "heads"));
  // One that is there already would still open the archive when it has been removed.
  for (const [at, passphrase, args] of [
    [1, first, ["--add"]],
    [2, second, ["--change-passphrase", "--slot", "1"]],
  ] as const)
    expect(
      await site.sparsebak(["-u", "key", ...args, "--passphrase-file", fileWith(site, passphrase)]),
    ).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`has this passphrase already, as number ${at}`),
    });
  const change = ["key", "--change-passphrase", "--passphrase-file", fileWith(site, third)];
  for (const args of [
    ["key", "--remove", "abc"],
    ["key", "--remove", "1.5"],
    ["key", "--remove", "0"],
    ["key", "--remove", "3"],
    ["key", "--remove", "1", "--remove", "2"],
    ["key", "--remove", "1", "--slot", "2"],
    ["key", "--list", "--passphrase-file", site.passphraseFile],
    change,
    [...change, "--slot", "abc"],
    [...change, "--slot", "1.5"],
    [...change, "--slot", "1", "--slot", "2"],
    [...change, "--slot", "1", "--passphrase-file", site.passphraseFile],
  ]) {
    expect(await site.sparsebak(["-u", ...args]), args.join(" ")).toMatchObject({ code: 2, stdout: "" });
  }
  expect(readdirSync(join(site.archive, "heads"))).toEqual(heads);

  must(await site.sparsebak(["-u", ...change, "--slot", "2"]));
  expect(await opens(second)).toBe(1);
  const removed = must(await site.sparsebak(["-u", "key", "--remove", "1"]));
  expect(removed.stderr).toContain("can still open the archive");
  expect([await opens(first), await opens(third)]).toEqual([1, 0]);
  expect(await site.sparsebak(["-u", "key", "--remove", "1"])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("only passphrase"),
  });
});

test("the receiver dies at the end of a removal: what is done is status 0, and what may be done says so", async () => {
  await using site = await made(true);
  must(
    await site.sparsebak(["-u", "key", "--add", "--passphrase-file", fileWith(site, "the second of them")]),
  );
  const reset = savedSite(site);
  const remove = ["-u", "key", "--remove", "1"];
  const count = join(site.directory, "count");
  site.killReceiverAt(undefined, count);
  must(await site.sparsebak(remove));
  const steps = Number(readFileSync(count, "utf8"));
  const warned: string[] = [];
  for (let n = steps; n > steps - 24; n -= 2) {
    reset();
    site.killReceiverAt(n);
    const { code, stderr } = await site.sparsebak(remove);
    site.killReceiverAt(undefined);
    const left = must(await site.sparsebak(["-u", "key", "--list"]))
      .stdout.trim()
      .split("\n").length;
    const at = `receiver killed at step ${n} of ${steps}: ${stderr}`;
    if (code === 0) expect(left, at).toBe(1);
    else if (left === 1) expect(stderr, at).toContain("key --list before you repeat it");
    if (code === 0 && stderr.includes("done; the old header goes with the next prune")) warned.push(stderr);
  }
  expect(warned).not.toEqual([]);
});
