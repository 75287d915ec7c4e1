// Restoring from a sealed archive, verifying and comparing with it: a chunk has to be the one that belongs at its address.

import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { good, lineOf, settings, volume } from "../support/restore-site.ts";
import { linesOf } from "../support/site-sessions.ts";
import { makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

test("restored, verified and compared by what dom0 has; a chunk that is swapped for another is noticed", async () => {
  await using sealed = await makeSite({
    volumes: [volume],
    driveBytes: 128 * mib,
    settings,
    local: true,
    sealed: true,
  });
  const image = sealed.image(volume);
  makeImage(image, { size: 6 * mib + 99, dataBytes: 2 * mib, seed: 31 });
  const digest = sha256Of(image);
  const { session } = lineOf(good(await sealed.sparsebak(["-u", "--json", "send", "--tag", "first"])));
  changeImage(image, mib / 4, 32, 6 * mib);
  good(await sealed.sparsebak(["-u", "send", "--tarfile"]));
  const newest = sha256Of(image);
  good(await sealed.sparsebak(["diff", volume]));
  good(await sealed.sparsebak(["diff", volume, "--quick"]));
  good(await sealed.sparsebak(["verify", volume, "--all-sessions"]));
  good(await sealed.sparsebak(["receive", volume, "--session", "first"]));
  expect(sha256Of(image)).toBe(digest);
  good(await sealed.sparsebak(["receive", volume, "--in-place", "--sparse-write"]));
  expect(sha256Of(image)).toBe(newest);
  const found = spawnSync("find", [sealed.archive, "-path", `*${String(session)}/*`, "-name", "x*"], {
    encoding: "utf8",
  });
  const [one = "", another = ""] = found.stdout.split("\n").filter(Boolean);
  const bytes = readFileSync(one);
  copyFileSync(another, one);
  writeFileSync(another, bytes);
  const verified = await sealed.sparsebak(["--json", "verify", volume, "--session", "first"]);
  expect(verified).toMatchObject({ code: 5 });
  expect(linesOf(verified).find((line) => line["type"] === "warning")).toMatchObject({ damagedChunks: 2 });
});
