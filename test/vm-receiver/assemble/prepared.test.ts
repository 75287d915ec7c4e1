// A drive that was prepared to lead spbk-assemble astray: a symbolic link in place of a directory is not followed, neither
// into an image nor by a check, and what stands in its place is damage like any other (docs/security.md, S23).

import { existsSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { chunk, imageOf, noise, run, scratch } from "./support.ts";

const first = "S_20261123-101500";
const image = imageOf(12 * chunk, { 0: noise(6) });

function made(): TestArchive {
  const archive = createTestArchive(join(scratch(), "archive"), { copies: false });
  archive.send({ home: noise(2), work: image });
  archive.send({ work: imageOf(12 * chunk, { 0: image, 4: noise(1) }) });
  return archive;
}

/** Moves what lies at a path out of the archive, and puts a link to it in its place. */
function linkAway(archive: TestArchive, path: string): void {
  const outside = join(scratch(), "outside");
  renameSync(join(archive.path, path), outside);
  symlinkSync(outside, join(archive.path, path));
}

const places = ["heads", "work", `work/${first}`, `work/${first}/000000000`] as const;

describe.each(places)("a link in place of %s", (place) => {
  test("no image is built through it", async () => {
    const archive = made();
    linkAway(archive, place);
    const out = join(scratch(), "out.img");
    for (const args of [["-o", out], ["--verify"], ["-o", "-"]]) {
      const ran = await run([join(archive.path, "work"), ...args]);
      expect(ran, args.join(" ")).toMatchObject({ status: 5 });
      expect(ran.stderr).toContain("a symbolic link stands in place of");
    }
    expect(existsSync(out)).toBe(false);
  });

  test("--scrub and --untrash say that it is damaged", async () => {
    const archive = made();
    linkAway(archive, place);
    const scrubbed = await run(["--scrub", archive.path]);
    expect(scrubbed).toMatchObject({ status: 5 });
    expect(scrubbed.stderr).not.toContain("internal");
    // What is behind it in the order of things is looked at all the same.
    if (place !== "heads")
      expect(scrubbed.stdout.toString()).toMatch(/ damaged; \d remarks? above\n|damaged\n/);
    const untrashed = await run(["--untrash", archive.path]);
    expect(untrashed.stderr).not.toContain("internal");
    expect(untrashed.status).toBe(place === "heads" ? 5 : 0);
  });
});

test("a link in place of the dead lists, and of the copies", async () => {
  const archive = made();
  mkdirSync(join(archive.path, "dead"));
  linkAway(archive, "dead");
  for (const option of ["--scrub", "--untrash"]) {
    const ran = await run([option, archive.path]);
    expect(ran.stderr, option).not.toContain("internal");
    expect(ran.status, option).toBe(option === "--scrub" ? 5 : 0);
  }
  const other = made();
  mkdirSync(join(other.path, "copies"));
  linkAway(other, "copies");
  const ran = await run(["--scrub", other.path]);
  expect(ran.stderr).not.toContain("internal");
});
