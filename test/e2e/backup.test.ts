// The main job through the built programs, the qrexec stand-ins and a mounted drive: full, incremental, tar, list,
// assemble.

import { truncateSync } from "node:fs";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { leftovers, makeSite, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

test("every session assembles to what the volume was", { timeout: 240_000 }, async () => {
  const volumes = ["work.img", "deep/er/root.img"];
  await using site = await makeSite({ volumes: ["work.img"] });
  const [work = ""] = volumes;
  const image = site.image(work);
  makeImage(image, { size: 64 * mib + 12_345, dataBytes: 20 * mib, seed: 7 });
  const digests = new Map<string, string>();
  const send = async (...args: string[]): Promise<Record<string, unknown>> => {
    const ended = await site.sparsebak(["-u", "--json", "send", ...args]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    const lines = ended.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const line = lines.find((each) => each["type"] === "volume") ?? {};
    if (typeof line["session"] === "string") digests.set(line["session"], sha256Of(image));
    return line;
  };

  expect(await send()).toMatchObject({ kind: "full", ok: true });
  expect(await send()).toMatchObject({ kind: "unchanged" });
  changeImage(image, 2 * mib, 8, 64 * mib);
  expect(await send()).toMatchObject({ kind: "compared" });
  truncateSync(image, 30 * mib + 5);
  expect(await send("--tarfile")).toMatchObject({ kind: "compared" });
  truncateSync(image, 80 * mib);
  expect(await send("--tag", "grown")).toMatchObject({ kind: "compared" });
  changeImage(image, mib, 9, 80 * mib);
  expect(await send("--tarfile")).toMatchObject({ kind: "compared" });
  expect(digests.size).toBe(5);
  for (const [session, digest] of digests) expect(await site.assembled(work, session)).toBe(digest);

  const listed = await site.sparsebak(["--json", "list", work]);
  expect(listed).toMatchObject({ code: 0 });
  for (const session of digests.keys()) expect(listed.stdout).toContain(session);
  const status = await site.sparsebak(["status"]);
  expect(status.stdout).toMatch(/work\.img \(default\): S_/);
  const built = await site.sparsebak(["assemble", work]);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  expect(built.stdout).toContain(sha256Of(image));
  const [, path = ""] = / in backup:(\S+)$/m.exec(built.stdout) ?? [];
  expect(sha256Of(path)).toBe(sha256Of(image));
  const again = await site.sparsebak(["assemble", work]);
  expect(again.stderr).toMatch(/error: assemble: backup:\S+ is there already\n.*hint: .*--save-to/);
  expect(again).toMatchObject({ code: 1 });
  expect(leftovers(site.archive)).toEqual([]);
});
