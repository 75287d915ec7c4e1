// The whole archive checked without any key, states of before a prune, and copies of the header: spbk-assemble with
// --scrub, --untrash and --head (archive-format.md, F8 and F35).

import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chunkPath } from "../../../protocol/archive/names.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { flipAt } from "../../support/damage.ts";
import { makePrune } from "../../support/prune-writer.ts";
import { chunk, imageOf, noise, run, scratch, sha256Hex } from "./support.ts";

const first = imageOf(12 * chunk, { 0: noise(6) });
const second = imageOf(12 * chunk, { 0: first.subarray(0, 4 * chunk), 4: noise(4) });

function made(form: "dir" | "tar" = "dir"): TestArchive {
  const archive = createTestArchive(join(scratch(), "archive"));
  archive.send({ home: first, work: first }, { form });
  archive.send({ work: second }, { form });
  return archive;
}

/** Writes a prune into the archive as a receiver would, and sweeps nothing. */
function dropFirst(archive: TestArchive, remove: readonly string[] = []): void {
  const [gone] = archive.sessionsOf("work");
  const prune = makePrune(archive.path, {
    remove,
    drop: (_, { name }, volume) => volume === "work" && name === gone!.name,
  });
  mkdirSync(join(archive.path, "dead"));
  for (const { name, bytes } of prune.puts) {
    const at = name.generation!;
    const session = [...prune.containers.values()]
      .flat()
      .find((each) => each.uid.every((b, i) => b === name.session?.[i]));
    const beside =
      session?.form === "tar"
        ? `${session.name}.tar.${name.kind}.${at}`
        : `${session?.name}/${name.kind}.${at}`;
    const path =
      { head: `heads/${at}`, dead: `dead/${at}`, index: `work/index.${at}` }[name.kind as string] ??
      `work/${beside}`;
    writeFileSync(join(archive.path, path), bytes);
  }
}

describe("--scrub", () => {
  const chunkFile = (archive: TestArchive, volume: string, address: number): string => {
    const { group, file } = chunkPath(address as ChunkAddress);
    return join(archive.sessionsOf(volume)[0]!.path, group, file);
  };

  test("an archive in order", async () => {
    for (const form of ["dir", "tar"] as const) {
      const archive = made(form);
      const ran = await run(["--scrub", archive.path]);
      expect(ran.stderr).toBe("");
      expect(ran.status).toBe(0);
      expect(ran.stdout.toString()).toMatch(
        /^head 2: 2 volumes, 3 containers, .*: everything is in order\n$/,
      );
    }
  });

  test("every kind of damage is a line, and exit status 5", async () => {
    const archive = made();
    const { name } = archive.sessionsOf("work")[0]!;
    const other = archive.sessionsOf("work")[1]!.name;
    truncateSync(chunkFile(archive, "work", chunk), 10);
    rmSync(chunkFile(archive, "work", 2 * chunk));
    writeFileSync(join(archive.path, "work", other, "stranger"), "");
    writeFileSync(join(archive.path, "work", name, "header"), "nonsense");
    rmSync(join(archive.path, "home", "index.1"));
    rmSync(join(archive.path, "work", "archive"));
    writeFileSync(join(archive.path, "archive"), "nonsense");
    const ran = await run(["--scrub", archive.path]);
    expect(ran.status).toBe(5);
    const lines = ran.stdout.toString().trim().split("\n");
    expect(lines.slice(0, -3).sort()).toEqual(
      [
        "archive is damaged",
        "home/index.1 is missing",
        "work/archive is missing",
        `work/${name}: header is damaged`,
        `work/${name}: chunk at 0x0000000000010000 is damaged`,
        `work/${name}: chunk at 0x0000000000020000 is missing`,
        `work/${other}/stranger should not be there`,
      ].sort(),
    );
    expect(lines.at(-3)).toContain("6 things are damaged; 1 remark above");
    expect(lines.at(-2)).toBe(`hit: work/${name}`);
    const json = await run(["--scrub", archive.path, "--json"]);
    const objects = json.stdout
      .toString()
      .trim()
      .split("\n")
      .map((each) => JSON.parse(each) as object);
    expect(objects).toHaveLength(8);
    expect(objects.at(-1)).toMatchObject({ type: "scrubbed", damages: 6, remarks: 1, generation: 2 });
    expect(objects).toContainEqual({
      type: "damage",
      where: `work/${name}`,
      file: "chunk",
      what: "missing",
      address: 2 * chunk,
    });
  });

  test("however many lines there are, standard error stays empty", async () => {
    const archive = made();
    for (let i = 0; i < 12; i++) writeFileSync(join(archive.path, `stranger-${i}!`), "");
    const ran = await run(["--scrub", archive.path]);
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    expect(ran.stdout.toString().match(/should not be there/g)).toHaveLength(12);
  });

  test("not an archive; a newest head that can't be read, and the one before it", async () => {
    expect(await run(["--scrub", scratch()])).toMatchObject({ status: 1 });
    const archive = made();
    for (const each of ["heads", "copies/heads"]) writeFileSync(join(archive.path, each, "2"), "nonsense");
    const ran = await run(["--scrub", archive.path]);
    expect(ran).toMatchObject({ status: 5 });
    expect(ran.stderr).toContain("head 2 is damaged");
    const older = await run(["--scrub", archive.path, "--head", "1"]);
    expect(older.status).toBe(0);
    expect(older.stdout.toString()).toContain("head 1: 2 volumes, 2 containers");
    expect(await run(["--scrub", archive.path, "--head", "7"])).toMatchObject({ status: 1 });
  });

  test("what waits for its day is in order", async () => {
    const archive = made();
    dropFirst(archive);
    const ran = await run(["--scrub", archive.path]);
    expect(ran.stdout.toString()).toContain("everything is in order");
    expect(ran.status).toBe(0);
  });
});

describe.each(["dir", "tar"] as const)("--untrash, form %s", (form) => {
  test("shows what can still be had, and --head builds it", async () => {
    const archive = made(form);
    const [gone] = archive.sessionsOf("work");
    const [home] = archive.sessionsOf("home");
    expect((await run(["--untrash", archive.path])).stdout.toString()).toContain("nothing that was pruned");
    dropFirst(archive, ["home"]);
    const now = await run([archive.volumePath("work"), "--list"]);
    expect(now.stdout.toString()).toContain("work: 1 session");
    const newest = await run([archive.volumePath("work"), "--verify"]);
    expect(newest.stdout.toString()).toContain(sha256Hex(second));
    const ran = await run(["--untrash", archive.path]);
    expect(ran.status).toBe(0);
    const lines = ran.stdout.toString();
    expect(lines).toMatch(/^head 2, 2026/);
    expect(lines).toContain(`work  ${gone!.name}\n`);
    expect(lines).toContain(`home  ${home!.name}\n`);
    const out = join(scratch(), "image");
    const built = await run([archive.volumePath("work"), "--head", "2", "--session", gone!.name, "-o", out]);
    expect(built.status).toBe(0);
    expect(readFileSync(out).equals(first)).toBe(true);
    const deleted = await run([archive.volumePath("home"), "--head", "2", "--verify"]);
    expect(deleted.stdout.toString()).toContain(sha256Hex(first));

    // Once its chunks are gone it says so.
    if (form === "dir") {
      const group = readdirSync(gone!.path).find((each) => each.startsWith("00"))!;
      rmSync(join(gone!.path, group, "x0000000000050000"));
    } else truncateSync(gone!.path, 10_240);
    const broken = await run(["--untrash", archive.path]);
    expect(broken.stdout.toString()).toContain(`work  ${gone!.name}  no longer whole`);
    expect(broken.stdout.toString()).toContain(`home  ${home!.name}\n`);
  });

  test("a session is whole only with the chunks that another volume has stored for it", async () => {
    const archive = createTestArchive(join(scratch(), "archive"), { shared: true });
    archive.send({ home: first }, { form });
    archive.send({ work: second }, { form });
    const [home] = archive.sessionsOf("home");
    const [gone] = archive.sessionsOf("work");
    dropFirst(archive, ["work"]);
    const untrash = async (...args: string[]): Promise<string> =>
      (await run(["--untrash", archive.path, ...args])).stdout.toString();
    expect(await untrash()).toContain(`  work  ${gone!.name}\n`);
    const verified = async (): Promise<number | null> =>
      (await run([archive.volumePath("work"), "--head", "2", "--verify"])).status;
    expect(await verified()).toBe(0);
    const flip = (address: number): void => {
      const { group, file } = chunkPath(address as ChunkAddress);
      const path = form === "dir" ? join(home!.path, group, file) : home!.path;
      const at = form === "dir" ? 0 : readFileSync(path).indexOf(`${group}/${file}`) + 512;
      flipAt(path, at + 40);
    };

    // One that it does not need: first has it, second has another in its place.
    flip(5 * chunk);
    expect(await verified()).toBe(0);
    expect(await untrash()).toContain(`  work  ${gone!.name}\n`);
    flip(2 * chunk);
    expect(await verified()).toBe(5);
    expect(await untrash()).toContain(`  work  ${gone!.name}  no longer whole\n`);
    expect(JSON.parse(await untrash("--json"))).toMatchObject({
      whole: [],
      ownFiles: [],
      broken: [{ directory: "work", session: gone!.name }],
    });
    rmSync(home!.path, { recursive: true });
    expect(await untrash()).toContain(`  work  ${gone!.name}  no longer whole\n`);
  });
});

test("options that don't go together", async () => {
  const { path } = made();
  for (const args of [
    ["--scrub", "--untrash", path],
    ["--scrub", path, "--session", "S_20261123-101500"],
    ["--scrub", path, "--key", "-"],
    ["--scrub", path, "--key-fd", "0"],
    ["--scrub", path, "--passphrase-file", "/dev/null"],
    ["--scrub", path, "--force"],
    ["--scrub", path, "--allow-older-head"],
    ["--untrash", path, "--head", "1"],
    ["--untrash", path, "--session", "S_20261123-101500"],
    ["--untrash", path, "-o", "image"],
    ["--untrash", path, "--force"],
    ["--untrash", path, "--allow-older-head"],
    ["--head", "0", join(path, "work")],
    ["--head", "1", "--allow-older-head", join(path, "work")],
  ]) {
    expect(await run(args), args.join(" ")).toMatchObject({ status: 2 });
  }
});
