// What can be done with an archive can be done with a sealed one: all commands, and a send that was killed and goes on;
// and no salt and nonce of its objects ever occurs twice (docs/security.md, S1 and S11).

import { spawnSync } from "node:child_process";
import { closeSync, cpSync, openSync, readdirSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { nonceAudit } from "../support/nonce-audit.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

test("every command on a sealed archive", async () => {
  const [first, second, renamed] = ["secret-one.img", "secret-two.img", "secret-three.img"];
  await using site = await makeSite({
    volumes: [first, second],
    driveBytes: 128 * mib,
    settings: ["chunk-size = 64K"],
    sealed: true,
    local: true,
  });
  const run = async (...args: string[]): Promise<string> => {
    const ended = await site.sparsebak(["-u", ...args]);
    expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 0 });
    return ended.stdout;
  };
  makeImage(site.image(first), { size: 3 * mib, dataBytes: 2 * mib, seed: 3 });
  makeImage(site.image(second), { size: 2 * mib, dataBytes: mib, seed: 4 });
  // Among bytes that don't compress, where an archive that is not sealed would show it.
  const marker = "secret-content";
  const image = openSync(site.image(first), "r+");
  writeSync(image, marker, 5000);
  const chunk = new Uint8Array(64 * 1024);
  readSync(image, chunk, 0, chunk.length, 0);
  closeSync(image);
  expect(zstdCompressSync(chunk).includes(marker)).toBe(true);
  const audit = nonceAudit();
  // The first send is killed in its middle, and the next one goes on.
  await site.sparsebak(["-u", "send"], { killAt: 160 });
  await run("send");
  audit.look(site.archive);
  // A restored dom0: it sends, its state is put back to what it was before, and it sends something else.
  let seed = 5;
  const before = join(site.directory, "dom0-before");
  cpSync(site.state, before, { recursive: true });
  for (let i = 0; i < 2; i++) {
    changeImage(site.image(first), mib / 2, ++seed, 3 * mib);
    await run("send");
    audit.look(site.archive);
    if (i > 0) break;
    rmSync(site.state, { recursive: true });
    cpSync(before, site.state, { recursive: true });
  }
  for (const extra of [["--tarfile"], ["--tag", "secret-tag"]]) {
    changeImage(site.image(first), mib / 2, ++seed, 3 * mib);
    await run("send", ...extra);
  }
  const wanted = sha256Of(site.image(first));
  const restored = async (volume: string): Promise<string> => {
    const target = join(site.directory, `restored-${volume}`);
    await run("receive", volume, "--save-to", target);
    return sha256Of(target);
  };

  expect(await run("list", first)).toContain("secret-tag");
  await run("verify", first);
  expect(await run("diff", first)).toContain("equal");
  expect(await restored(first)).toBe(wanted);
  await run("tag", first, "another");
  audit.look(site.archive);
  await run("prune", "--keep-last", "1");
  audit.look(site.archive);
  await run("check");
  await run("rename", first, renamed);
  expect(await restored(renamed)).toBe(wanted);
  await run("delete", "--yes", second);
  await run("check", "--read-data");
  expect(await site.assembled(renamed)).toBe(wanted);

  audit.look(site.archive);
  expect(audit).toMatchObject({ repeated: [], unsealed: [], slots: 1 });
  expect(audit.chunks).toBeGreaterThan(30);
  expect(audit.files).toBeGreaterThan(20);
  const names = readdirSync(site.archive, { recursive: true, encoding: "utf8" });
  expect(names.filter((name) => name.includes("secret"))).toEqual([]);
  expect(spawnSync("grep", ["-rlaF", "secret", site.archive], { encoding: "utf8" }).stdout).toBe("");
});
