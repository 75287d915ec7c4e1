// What the trash of a sealed archive still has: by its names, and as far as can be told without a key, with one that opens
// it, and built with the read key of a volume that was deleted. And how spbk-assemble reads the files that keys and passphrases are in.

import { chmodSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}

test("a deleted volume is named, and read with its own key", { timeout: 120_000 }, async () => {
  await using site = await makeSite({
    volumes: ["kept.img", "gone.img"],
    driveBytes: 64 * mib,
    sealed: true,
    local: true,
    settings: ["chunk-size = 64K"],
  });
  const receiver = join(site.directory, "receiver.ini");
  writeFileSync(receiver, "[receiver]\ntrash-days = 30\n");
  const ini = readFileSync(site.ini, "utf8");
  const settings = ini.replace("[volumes]", `receiver-settings = ${receiver}\n[volumes]`);
  writeFileSync(site.ini, `${settings}[groups]\nboth = *.img\n`);
  // What kept.img has stored, gone.img shares.
  makeImage(site.image("kept.img"), { size: mib, dataBytes: mib / 2, seed: 0 });
  must(await site.sparsebak(["-u", "send", "kept.img"]));
  copyFileSync(site.image("kept.img"), site.image("gone.img"));
  changeImage(site.image("gone.img"), mib / 8, 1, mib);
  must(await site.sparsebak(["-u", "send"]));
  const directory = site.volumeDirectory("gone.img").slice(site.archive.length + 1);
  const keptKey = join(site.directory, "kept.key");
  writeFileSync(keptKey, must(await site.sparsebak(["key", "--export", "kept.img"])).stdout);
  must(await site.sparsebak(["-u", "delete", "--yes", "gone.img"]));

  const exported = must(await site.sparsebak(["key", "--export", "gone.img"]));
  expect(exported.stderr).toMatch(/gone\.img: deleted from the archive; this key reads what the .* trash/);
  const goneKey = join(site.directory, "gone.key");
  writeFileSync(goneKey, exported.stdout, { mode: 0o600 });
  expect(await site.sparsebak(["key", "--export", "never.img"])).toMatchObject({ code: 1, stdout: "" });

  const untrash = async (...args: string[]): Promise<string> =>
    must(await site.spbkAssemble(["--untrash", site.archive, ...args])).stdout;
  const plain = await untrash();
  const [, head = "", session = ""] =
    /^head (\d+), .*\n {2}[0-9a-f]{32} {2}(S_[\d-]+) {2}its volume's own files are all there\n/.exec(plain) ??
    [];
  expect(plain).toMatch(
    /\nwhether all is there that it shares with other volumes, only a key can tell: --key/,
  );
  expect(plain).toContain(directory);
  expect(plain).not.toContain("gone.img");
  expect(await untrash("--key", keptKey)).toBe(plain);
  for (const key of [
    ["--key", goneKey],
    ["--passphrase-file", site.passphraseFile],
  ]) {
    const opened = await untrash(...key);
    expect(opened).toContain(`  ${directory}  ${session}  gone.img\n`);
    expect(opened).not.toMatch(/own files|only a key/);
  }
  const chunks = readdirSync(site.volumeDirectory("kept.img"), { recursive: true, encoding: "utf8" })
    .filter((path) => /\/x[0-9a-f]{16}$/.test(path))
    .map((path) => join(site.volumeDirectory("kept.img"), path));
  const stored = new Map(chunks.map((path) => [path, readFileSync(path)]));
  expect(stored.size).toBeGreaterThan(4);
  for (const [path, bytes] of stored)
    writeFileSync(
      path,
      bytes.map((byte) => byte ^ 1),
    );
  expect(await untrash()).toBe(plain);
  expect(await untrash("--key", goneKey)).toContain(
    `  ${directory}  ${session}  gone.img  no longer whole\n`,
  );
  for (const [path, bytes] of stored) writeFileSync(path, bytes);

  const output = join(site.directory, "gone.out");
  const args = ["--head", head, "--key", goneKey, "-o", output];
  must(await site.spbkAssemble([join(site.archive, directory), ...args]));
  expect(sha256Of(output)).toBe(sha256Of(site.image("gone.img")));

  // Sent again under the same name, it is another volume, and that one's key is meant.
  must(await site.sparsebak(["-u", "send"]));
  const again = must(await site.sparsebak(["key", "--export", "gone.img"]));
  expect(again.stdout).not.toBe(exported.stdout);
  expect(again.stderr).not.toContain("deleted");

  const kept = site.volumeDirectory("kept.img");
  const passphrase = async (file: string): Promise<Ended> =>
    site.spbkAssemble([kept, "--passphrase-file", file, "--list"]);
  chmodSync(site.passphraseFile, 0o644);
  expect(must(await passphrase(site.passphraseFile)).stderr).toMatch(
    /warning: others on this system can read the passphrase \(mode 644\), \S+passphrase\n/,
  );
  const quietly = ["--passphrase-file", site.passphraseFile, "-q"];
  for (const mode of [
    [kept, "--list"],
    ["--untrash", site.archive],
  ])
    expect(must(await site.spbkAssemble([...mode, ...quietly])).stderr, mode.join(" ")).toBe("");
  const latin = join(site.directory, "latin");
  writeFileSync(latin, Buffer.from("pässword\n", "latin1"), { mode: 0o600 });
  const refused = await passphrase(latin);
  expect(refused.stderr).toMatch(/error: passphrase is not UTF-8 text, \S+latin\n/);
  expect(refused).toMatchObject({ code: 2 });
  const noKey = await site.spbkAssemble([kept, "--key", latin, "--list"]);
  expect(noKey.stderr).toMatch(/error: .*key, \S+latin\n.*hint: in dom0, sparsebak key --export VOLUME/);
  expect(noKey).toMatchObject({ code: 1 });
});
