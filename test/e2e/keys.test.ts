// Sealed archives through the built programs: what the destination can see of one, who can open it and who can't, keys
// that are changed, exported and lost (docs/security.md, S1 to S5; docs/keys.md).

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { atTerminal } from "../support/at-terminal.ts";
import { type Ended, makeSite, type Site, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "very/secret-name.img";
const tag = "secret-tag";
/** Is in the image, where it is found again if nothing is sealed. */
const content = "secret content of a guest";

async function made(options: Partial<Parameters<typeof makeSite>[0]> = {}): Promise<Site> {
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 128 * mib,
    sealed: true,
    settings: ["chunk-size = 64K"],
    ...options,
  });
  mkdirSync(dirname(site.image(volume)));
  makeImage(site.image(volume), { size: 6 * mib + 1234, dataBytes: 3 * mib, seed: 11 });
  const image = openSync(site.image(volume), "r+");
  writeSync(image, content, 6 * mib + 100);
  closeSync(image);
  return site;
}
function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}
/** Everything that the destination has: names and bytes of all files below the drive, and the receiver's log. */
function grepDestination(site: Site, text: string): readonly string[] {
  const names = readdirSync(site.drive, { recursive: true, encoding: "utf8" });
  const inNames = names.filter((name) => name.includes(text));
  const inBytes = spawnSync("grep", ["-rlaF", text, site.drive], { encoding: "utf8" }).stdout;
  return [...inNames, ...inBytes.split("\n").filter(Boolean)];
}
async function assembledWith(site: Site, ...args: string[]): Promise<string> {
  const output = join(site.directory, "out.img");
  must(await site.spbkAssemble([...args, "-o", output, "--force", "-q"]));
  return sha256Of(output);
}

test("a sealed archive shows nothing, and opens to its keys only", async () => {
  await using site = await made();
  const log = join(site.directory, "receiver-log");
  site.logReceiverTo(log);
  const digests = [sha256Of(site.image(volume))];
  must(await site.sparsebak(["-u", "send", "--tag", tag]));
  changeImage(site.image(volume), mib / 2, 12, 6 * mib);
  digests.push(sha256Of(site.image(volume)));
  must(await site.sparsebak(["-u", "send"]));
  changeImage(site.image(volume), mib / 2, 13, 6 * mib);
  digests.push(sha256Of(site.image(volume)));
  must(await site.sparsebak(["-u", "send", "--tarfile"]));
  const listed = must(await site.sparsebak(["list", volume])).stdout;
  expect(listed).toContain(tag);
  const sessions = [...listed.matchAll(/S_\d{8}-\d{6}/g)].map(([name]) => name).slice(-3);
  expect(sessions).toHaveLength(3);

  // S1: neither names nor content.
  for (const text of ["secret-name", tag, content]) expect(grepDestination(site, text)).toEqual([]);
  expect(readFileSync(log, "utf8")).not.toContain("secret-name");
  expect(JSON.stringify(site.lab.calls())).not.toContain("secret-name");

  // A passphrase opens every session, dom0's record or not.
  const directory = site.volumeDirectory(volume);
  for (const [i, session] of sessions.entries()) {
    expect(await site.assembled(volume, session)).toBe(digests[i]);
  }
  // So does the read key, by the archive's path alone.
  const exported = must(await site.sparsebak(["key", "--export", volume]));
  expect(exported.stderr).toContain("can't be taken back");
  const keyFile = join(site.directory, "read-key");
  writeFileSync(keyFile, exported.stdout);
  expect(await assembledWith(site, site.archive, "--key", keyFile)).toBe(digests[2]);
  for (const from of [
    ["--key", "-", `<${keyFile}`],
    ["--key-fd", "3", `3<${keyFile}`],
  ]) {
    const shown = await atTerminal(site, "spbk-assemble", [site.archive, "--list", ...from], []);
    expect(shown).toMatchObject({ code: 0, output: expect.stringContaining(sessions[0] ?? "") });
  }
  const byList = must(await site.spbkAssemble([directory, "--key", keyFile, "--list"]));
  expect(byList.stdout).toContain(sessions[0]);

  // Without a key, with a mistyped one, with a wrong passphrase: no image, and why.
  expect(await site.spbkAssemble([directory, "-o", join(site.directory, "none")])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("no key was given"),
  });
  const wrong = join(site.directory, "wrong");
  writeFileSync(wrong, "not the passphrase\n");
  expect(await site.spbkAssemble([directory, "--passphrase-file", wrong])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("does not open the archive"),
  });
  writeFileSync(
    wrong,
    exported.stdout.replace(/.$/m, (last) => (last === "0" ? "1" : "0")),
  );
  expect(await site.spbkAssemble([site.archive, "--key", wrong])).toMatchObject({ code: 1 });
});

test("without a passphrase: the key file and the recovery form open it, unattended", async () => {
  await using site = await made({ sealed: "later" });
  const both = ["-u", "init", "--no-passphrase", "--passphrase-file", site.passphraseFile];
  expect(await site.sparsebak(both)).toMatchObject({ code: 2 });
  must(await site.sparsebak(["-u", "init", "--no-passphrase"]));
  must(await site.sparsebak(["-u", "send"]));
  expect(must(await site.sparsebak(["key", "--list"])).stdout).toContain("no passphrase");
  expect(must(await site.sparsebak(["verify", volume])).stdout).toContain("every chunk is right");
});

test("a lost dom0: join with the passphrase, then with the recovery form", async () => {
  await using site = await made();
  must(await site.sparsebak(["-u", "send"]));
  const recovery = must(await site.sparsebak(["key", "--show-recovery"])).stdout;
  const form = join(site.directory, "recovery");
  writeFileSync(form, recovery.split("\n").slice(-2).join("\n"));
  const archives = join(site.state, "archives");

  for (const [i, secret] of [site.passphraseFile, form].entries()) {
    rmSync(archives, { recursive: true });
    // What it does not know it does not touch.
    expect(await site.sparsebak(["-u", "send"])).toMatchObject({
      code: 5,
      stderr: expect.stringContaining("init --join"),
    });
    rmSync(archives, { recursive: true });
    must(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", secret]));
    expect(must(await site.sparsebak(["list"])).stdout).toContain(volume);
    changeImage(site.image(volume), mib / 4, 14 + i, 6 * mib);
    const sent = must(await site.sparsebak(["-u", "--json", "send"]));
    // One comparison, and no second full backup under another id.
    expect(sent.stdout).toContain('"kind":"compared"');
    expect(readdirSync(site.archive).filter((name) => /^[0-9a-f]{32}$/.test(name))).toHaveLength(1);
    expect(await site.assembled(volume)).toBe(sha256Of(site.image(volume)));
  }

  const wrong = join(site.directory, "wrong");
  writeFileSync(wrong, "some other passphrase");
  rmSync(archives, { recursive: true });
  expect(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", wrong])).toMatchObject({
    code: 1,
  });
  expect(await site.sparsebak(["-u", "list"])).toMatchObject({ code: 5 });
});

test("another volume's read key is the wrong key, not a damage", async () => {
  const other = "b.img";
  await using site = await made({ volumes: [volume, other] });
  makeImage(site.image(other), { size: 3 * mib, dataBytes: mib, seed: 12 });
  must(await site.sparsebak(["-u", "send"]));
  const [directory, key] = [site.volumeDirectory(volume), join(site.directory, "read-key")];
  const copied = join(site.directory, "copied");
  cpSync(directory, copied, { recursive: true });
  for (const [name, opens] of [
    [other, false],
    [volume, true],
  ] as const) {
    writeFileSync(key, must(await site.sparsebak(["key", "--export", name])).stdout);
    for (const what of [["--list"], ["--verify"], ["-o", join(site.directory, "none")]]) {
      const ended = await site.spbkAssemble([directory, "--key", key, ...what]);
      if (opens) must(ended);
      else
        expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining("key is of another volume") });
    }
    expect(existsSync(join(site.directory, "none"))).toBe(opens);
    // Copied alone, under a name of its own.
    expect((await site.spbkAssemble([copied, "--key", key, "--list"])).code).toBe(opens ? 0 : 5);
  }
});

test("a read key goes by the name that the archive has now, not by what dom0 remembers", async () => {
  const other = "b.img";
  await using site = await made({ volumes: [volume, other] });
  makeImage(site.image(other), { size: 3 * mib, dataBytes: mib, seed: 12 });
  must(await site.sparsebak(["-u", "send"]));
  const keyOf = async (name: string): Promise<string> =>
    must(await site.sparsebak(["key", "--export", name])).stdout;
  const [before, others] = [await keyOf(volume), await keyOf(other)];
  expect(before).not.toBe(others);
  const host = join(site.directory, "dom0-other");
  cpSync(site.state, host, { recursive: true });
  const rename = async (from: string, to: string): Promise<void> => {
    must(await site.sparsebak(["-u", "rename", from, to], { ini: join(host, "sparsebak.ini") }));
  };
  await rename(volume, "old.img");
  for (const args of [
    ["key", "--export", volume],
    ["-u", "assemble", "--reveal", volume],
  ]) {
    const refused = await site.sparsebak(args);
    expect(refused.stderr).toMatch(/the archive has no such volume/);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
  }
  expect(await keyOf("old.img")).toBe(before);
  await rename(other, volume);
  expect(await keyOf(volume)).toBe(others);
});

test("whose chunks a read key opens as well is said before it is given away", async () => {
  const [a, b, alone] = ["a.img", "b.img", "alone.img"];
  await using site = await made({ volumes: [volume, a, b, alone] });
  for (const each of [a, b, alone]) makeImage(site.image(each), { size: mib, dataBytes: mib / 2, seed: 3 });
  appendFileSync(site.ini, "[groups]\nmine = a.img b.img\n");
  must(await site.sparsebak(["-u", "send"]));
  for (const args of [
    ["key", "--export"],
    ["-u", "assemble", "--reveal"],
  ]) {
    const said = must(await site.sparsebak([...args, a])).stderr;
    expect(said).toContain(
      `${a}: the volume shares chunks with others, and the key opens theirs too: ${b}\n`,
    );
    expect(must(await site.sparsebak([...args, alone])).stderr).not.toContain("shares chunks");
  }
});

test("what nobody decides is not decided silently", async () => {
  await using site = await made({ sealed: "later" });
  // Sealed by default, and nobody there to give a passphrase.
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("sparsebak init"),
  });
  expect(readdirSync(site.drive, { recursive: true })).not.toContain("backups/heads/1");

  must(await site.sparsebak(["-u", "init", "--passphrase-file", site.passphraseFile]));
  must(await site.sparsebak(["-u", "send"]));

  // A sealed archive is never sent to as an unsealed one, nor the other way round.
  writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("[volumes]", "encryption = off\n[volumes]"));
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("the archive is sealed"),
  });
});

test("an archive that is not sealed is made where the settings say so, and aloud", async () => {
  await using site = await made({ sealed: false });
  const aloud = "encryption = off: whoever has the drive or its VM can read everything in it";
  expect(must(await site.sparsebak(["-u", "-q", "send"])).stderr).toContain(aloud);
  expect(must(await site.sparsebak(["-u", "-q", "send"])).stderr).not.toContain(aloud);
  // What a sealed archive does not show.
  for (const text of ["secret-name", content]) expect(grepDestination(site, text)).not.toEqual([]);
  rmSync(join(site.state, "archives"), { recursive: true });
  rmSync(site.archive, { recursive: true });
  expect(must(await site.sparsebak(["-q", "init"])).stderr).toContain(aloud);
});

test("an unsealed archive in the place of a sealed one is not taken with the sealed one's keys", async () => {
  await using site = await made();
  must(await site.sparsebak(["-u", "send"]));
  const key = join(site.directory, "read-key");
  writeFileSync(key, must(await site.sparsebak(["key", "--export", volume])).stdout);
  for (const each of [join(site.state, "archives"), site.archive]) rmSync(each, { recursive: true });
  writeFileSync(site.ini, readFileSync(site.ini, "utf8").replace("[volumes]", "encryption = off\n[volumes]"));
  must(await site.sparsebak(["-u", "send"]));
  const [directory, output] = [site.volumeDirectory(volume), join(site.directory, "none")];
  for (const args of [
    [directory, "--key", key],
    [site.archive, "--key", key],
    [directory, "--passphrase-file", site.passphraseFile],
  ])
    for (const what of [["--list"], ["-o", output]])
      expect(await site.spbkAssemble([...args, ...what])).toMatchObject({
        code: 5,
        stdout: "",
        stderr: expect.stringContaining("not the one that was sealed"),
      });
  expect(existsSync(output)).toBe(false);
  must(await site.spbkAssemble([directory, "--list"]));
});

test("a master key that others can read is refused", async () => {
  await using site = await made();
  must(await site.sparsebak(["-u", "send"]));
  const key = join(site.state, "archives", "default", "key");
  const before = readdirSync(site.archive, { recursive: true });
  for (const [mode, said] of [
    [0o644, "found mode 644"],
    [0o640, "found mode 640"],
  ] as const) {
    chmodSync(key, mode);
    for (const command of [["-u", "send"], ["list"], ["key", "--show-recovery"]])
      expect(await site.sparsebak(command)).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining(said),
      });
  }
  expect(readdirSync(site.archive, { recursive: true })).toEqual(before);
  chmodSync(key, 0o600);
  must(await site.sparsebak(["-u", "send"]));
});

test("a state directory that others could exchange files in is refused", async () => {
  await using site = await made({ sealed: "later" });
  must(await site.sparsebak(["status"]));
  const before = readdirSync(site.state);
  const refused = { code: 1, stderr: expect.stringContaining(`state directory ${site.state}`) };
  for (const mode of [0o777, 0o1777, 0o770]) {
    chmodSync(site.state, mode);
    for (const command of [["status"], ["-u", "init", "--no-passphrase"]])
      expect(await site.sparsebak(command)).toMatchObject(refused);
  }
  chmodSync(site.state, 0o700);
  chownSync(site.state, 1234, 0);
  expect(await site.sparsebak(["-u", "init", "--no-passphrase"])).toMatchObject(refused);
  expect(readdirSync(site.state)).toEqual(before);
  chownSync(site.state, 0, 0);
  must(await site.sparsebak(["status"]));
});
