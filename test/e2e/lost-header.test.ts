// `archive` and every copy of it are gone, and with them every passphrase: dom0 has kept the bytes, reads on with them,
// and puts back those that the verified head names and no others (docs/security.md, S25).

import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, type Site, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "work.img";
const put = /warning: archive header: .*; put back from dom0's own copy/;

async function made(): Promise<Site & { readonly newFile: string }> {
  const site = await makeSite({
    volumes: [volume],
    driveBytes: 64 * mib,
    sealed: true,
    local: true,
    settings: ["chunk-size = 64K"],
  });
  makeImage(site.image(volume), { size: 2 * mib, dataBytes: mib, seed: 3 });
  must(await site.sparsebak(["-u", "send"]));
  const newFile = join(site.directory, "new passphrase");
  writeFileSync(newFile, "an entirely different long passphrase\n", { mode: 0o600 });
  return Object.assign(site, { newFile });
}

function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}

/** The paths of `archive`, `archive.N` and all copies, below the archive. */
function headers(site: Site): readonly string[] {
  const all = readdirSync(site.archive, { recursive: true, encoding: "utf8" });
  return all.filter((path) => /(?:^|\/)archive(?:\.\d+)?$/.test(path)).toSorted();
}

function lose(site: Site): void {
  expect(headers(site).length).toBeGreaterThan(1);
  for (const each of headers(site)) rmSync(join(site.archive, each));
}

async function opensWith(site: Site, passphraseFile: string): Promise<boolean> {
  const args = ["--passphrase-file", passphraseFile, "--verify"];
  return (await site.spbkAssemble([site.volumeDirectory(volume), ...args])).code === 0;
}

test("lost or rotten: read on with, and put back by a repair", { timeout: 120_000 }, async () => {
  await using site = await made();
  const whole = headers(site);
  const damages: Record<string, (path: string) => void> = {
    lost: (path) => rmSync(path),
    rotten: (path) => {
      const bytes = readFileSync(path);
      bytes[80]! ^= 1;
      writeFileSync(path, bytes);
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    for (const each of whole) damage(join(site.archive, each));
    const target = join(site.directory, `${name}.img`);
    const received = must(await site.sparsebak(["-u", "receive", volume, "--save-to", target]));
    expect(received.stderr, name).toMatch(
      /archive header: .*; gone on with dom0's own copy, which sparsebak/,
    );
    expect(sha256Of(target)).toBe(sha256Of(site.image(volume)));
    expect(await opensWith(site, site.passphraseFile)).toBe(false);
    for (const command of ["send", "check"]) {
      const ended = await site.sparsebak(["-u", command]);
      expect(ended, `${name}: ${ended.stderr}`).toMatchObject({ code: 5 });
      expect(ended.stderr).toMatch(/check --repair puts/);
    }
    const repaired = must(await site.sparsebak(["-u", "check", "--repair", "--yes"]));
    expect(repaired.stderr, name).toMatch(put);
    expect(headers(site)).toEqual(whole);
    expect(await opensWith(site, site.passphraseFile)).toBe(true);
    must(await site.sparsebak(["-u", "send"]));
    must(await site.sparsebak(["-u", "check"]));
  }
});

test("the slots that count now, and in an older state its own", { timeout: 120_000 }, async () => {
  await using site = await made();
  const older = join(site.directory, "older");
  cpSync(site.archive, older, { recursive: true });
  must(await site.sparsebak(["-u", "key", "--change-passphrase", "--passphrase-file", site.newFile]));
  changeImage(site.image(volume), 100_000, 1, 2 * mib);
  must(await site.sparsebak(["-u", "send"]));

  lose(site);
  // Any command that may change the archive puts it back first.
  expect(must(await site.sparsebak(["-u", "tag", volume, "kept"])).stderr).toMatch(put);
  expect(headers(site)).toContain("archive.3");
  expect(await opensWith(site, site.newFile)).toBe(true);
  expect(await opensWith(site, site.passphraseFile)).toBe(false);

  rmSync(site.archive, { recursive: true });
  cpSync(older, site.archive, { recursive: true });
  lose(site);
  const refused = await site.sparsebak(["-u", "check", "--repair", "--yes"]);
  expect(refused, refused.stderr).toMatchObject({ code: 5 });
  expect(headers(site)).toEqual([]);
  must(await site.sparsebak(["-u", "--accept-rollback", "check", "--repair", "--yes"]));
  expect(headers(site)).toEqual(expect.arrayContaining(["archive"]));
  expect(await opensWith(site, site.passphraseFile)).toBe(true);
  expect(await opensWith(site, site.newFile)).toBe(false);
  must(await site.sparsebak(["-u", "send"]));
  must(await site.sparsebak(["-u", "check"]));
});

test(
  "a dom0 that has joined has it too; one that has not, says what to do",
  { timeout: 120_000 },
  async () => {
    await using site = await made();
    rmSync(join(site.state, "archives"), { recursive: true });
    must(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", site.passphraseFile]));
    const kept = join(site.state, "archives", "default", "headers");
    lose(site);
    expect(must(await site.sparsebak(["-u", "check", "--repair", "--yes"])).stderr).toMatch(put);
    expect(await opensWith(site, site.passphraseFile)).toBe(true);
    lose(site);
    writeFileSync(join(kept, "0"), "rotten");
    const ended = await site.sparsebak(["-u", "check", "--repair", "--yes"]);
    expect(ended, ended.stderr).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(/hint: in the destination, copy archive from the directory of any volume/);
    expect(headers(site)).toEqual([]);
  },
);

test("a new machine takes over an archive whose header is lost by the way that it says", async () => {
  await using site = await made();
  const old = join(site.directory, "old");
  cpSync(join(site.state, "archives"), old, { recursive: true });
  const joining = ["-u", "init", "--join", "--passphrase-file", site.passphraseFile];
  const forget = (): void => rmSync(join(site.state, "archives"), { recursive: true });
  const header = join(site.archive, "archive");
  const copies = {
    "a volume's": join(site.volumeDirectory(volume), "archive"),
    "the old machine's": join(old, "default", "headers", "0"),
  };
  for (const [whose, from] of Object.entries(copies)) {
    forget();
    rmSync(header);
    const ended = await site.sparsebak(joining);
    expect(ended, whose).toMatchObject({ code: 5 });
    expect(ended.stderr, whose).toMatch(
      /header: the receiver does not have it\n.*hint: in the destination, copy archive from the directory of any volume .*headers\/0 in its state$/m,
    );
    cpSync(from, header);
    must(await site.sparsebak(joining));
    expect(must(await site.sparsebak(["-u", "send"])).stdout, whose).toContain("unchanged");
    must(await site.sparsebak(["-u", "check"]));
  }
});

test("a second archive is not begun around the first", { timeout: 120_000 }, async () => {
  await using site = await made();
  const ini = join(site.directory, "second", "sparsebak.ini");
  const before = headers(site).map((each) => [each, sha256Of(join(site.archive, each))]);
  for (const directory of [".", "backups/inside"]) {
    rmSync(join(site.directory, "second"), { recursive: true, force: true });
    cpSync(site.ini, ini);
    const lines = readFileSync(site.ini, "utf8").replace("destdir = backups", `destdir = ${directory}`);
    writeFileSync(ini, lines);
    const ended = await site.sparsebak(["-u", "init", "--passphrase-file", site.passphraseFile], { ini });
    expect(ended, ended.stderr).toMatchObject({ code: 1 });
    expect(ended.stderr).toMatch(/exists: .*another archive/);
  }
  expect(headers(site).map((each) => [each, sha256Of(join(site.archive, each))])).toEqual(before);
  expect(readdirSync(site.drive).toSorted()).toEqual(["backups", "lost+found"]);
  must(await site.sparsebak(["-u", "send"]));
});
