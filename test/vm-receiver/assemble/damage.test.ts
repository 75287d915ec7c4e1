// Whatever is wrong with an archive: the program says what, where and in which session, exits with 5 and leaves no
// file behind.

import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import { encodeFile, decodePrefix, prefixBytes, sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkEntry, ManifestEntry } from "../../../protocol/archive/manifest.ts";
import { createTestArchive, type TestArchive, type TestSession } from "../../support/archive-writer.ts";
import { flipAt } from "../../support/damage.ts";
import { chunk, imageOf, noise, type Ran, run, scratch } from "./support.ts";

let archive: TestArchive;
let volume: string;
let first: TestSession;
let second: TestSession;
const image = imageOf(40 * chunk, { 3: noise(20), 30: noise(2) });

beforeEach(() => {
  // A second copy would take the place of what is damaged here (e2e/second-copies).
  archive = createTestArchive(join(scratch(), "archive"), { copies: false });
  first = archive.send({ vm: image })["vm"]!;
  second = archive.send({ vm: imageOf(40 * chunk, { 0: image, 10: noise(1) }) }, { form: "tar" })["vm"]!;
  volume = archive.volumePath("vm");
});

/** Runs into an empty directory; expects the status and that it is still empty. */
async function expectFailure(
  args: readonly string[],
  status: number,
  ...says: readonly string[]
): Promise<Ran> {
  const directory = scratch();
  const ran = await run([...args, "-o", join(directory, "image")]);
  expect(ran.stderr).toMatch(/^spbk-assemble: error: /m);
  for (const each of says) expect(ran.stderr).toContain(each);
  expect(ran.status).toBe(status);
  expect(readdirSync(directory)).toEqual([]);
  expect(ran.stdout.toString()).toBe("");
  return ran;
}

const chunkFile = (name: string): string => join(first.path, "000000000", name);

describe("chunk files", () => {
  const file = "x0000000000040000";
  const named = (): readonly string[] => ["0x0000000000040000", first.name, chunkFile(file)];

  test("missing", async () => {
    rmSync(chunkFile(file));
    await expectFailure([volume], 5, "missing", ...named());
    const verified = await run([volume, "--verify"]);
    expect(verified.status).toBe(5);
    for (const each of named()) expect(verified.stderr).toContain(each);
  });
  test("cut", async () => {
    truncateSync(chunkFile(file), 1000);
    await expectFailure([volume], 5, "damaged", "its file has 1000 bytes", ...named());
  });
  test("longer", async () => {
    appendFileSync(chunkFile(file), "x");
    await expectFailure([volume], 5, "damaged", ...named());
  });
  test("one bit flipped", async () => {
    flipAt(chunkFile(file), 30_000);
    await expectFailure([volume], 5, "damaged", "checksum", ...named());
  });
  test("swapped with another", async () => {
    const other = chunkFile("x0000000000050000");
    renameSync(chunkFile(file), `${other}.moved`);
    renameSync(other, chunkFile(file));
    renameSync(`${other}.moved`, other);
    await expectFailure([volume], 5, "damaged", ...named());
  });
  test("a pipe in its place stalls nothing", async () => {
    rmSync(chunkFile(file));
    const { execFileSync } = await import("node:child_process");
    execFileSync("mkfifo", [chunkFile(file)]);
    await expectFailure([volume], 5, "not a regular file", ...named());
  });
  test("the one at the lowest address is named, though threads race", async () => {
    for (const each of ["x00000000001e0000", "x0000000000160000", file]) flipAt(chunkFile(each), 100);
    await expectFailure([volume], 5, ...named());
  });
  test("a session that does not need the chunk is still whole", async () => {
    rmSync(chunkFile("x00000000000a0000"));
    expect((await run([volume, "--verify"])).status).toBe(0);
    await expectFailure([volume, "--session", first.name], 5, "0x00000000000a0000");
  });
  test("a whole session's directory gone", async () => {
    rmSync(first.path, { recursive: true });
    await expectFailure([volume], 5, "missing", first.path);
  });
});

describe("tars", () => {
  test("cut in the middle", async () => {
    truncateSync(second.path, Math.floor(statSync(second.path).size / 1024) * 512);
    await expectFailure([volume], 5, "cut short", second.path);
  });
  test("cut by one byte", async () => {
    truncateSync(second.path, statSync(second.path).size - 1);
    await expectFailure([volume], 5, "cut short", second.path);
  });
  test("empty", async () => {
    truncateSync(second.path, 0);
    await expectFailure([volume], 5, "cut short", second.path);
  });
  test("missing", async () => {
    rmSync(second.path);
    await expectFailure([volume], 5, "missing", second.path);
  });
  test("one bit of a chunk flipped", async () => {
    flipAt(second.path, 512 + 5000);
    await expectFailure([volume], 5, "0x00000000000a0000", second.name, second.path);
  });
  test("an offset that leads elsewhere", async () => {
    const bytes = readFileSync(second.path);
    const records = bytes.readUInt32BE(bytes.length - 1024 - 512 + 8 + 4);
    bytes.writeUInt32BE(1024, records + 12);
    writeFileSync(second.path, bytes);
    await expectFailure([volume], 5, "0x00000000000a0000", second.name, second.path);
  });
  test("the tar of another session under its name", async () => {
    const third = archive.send({ vm: image }, { form: "tar" })["vm"]!;
    copyFileSync(second.path, third.path);
    await expectFailure([volume], 5, third.path);
  });
});

describe("what describes the chunks", () => {
  const inSession = (name: string): string => join(first.path, name);

  test("a manifest missing, cut, flipped, of another session", async () => {
    const path = inSession("manifest.1");
    const bytes = readFileSync(path);
    rmSync(path);
    await expectFailure([volume], 5, "manifest", "missing", path);
    writeFileSync(path, bytes.subarray(0, -1));
    await expectFailure([volume], 5, "manifest", "damaged", path);
    writeFileSync(path, bytes);
    flipAt(path, 200);
    await expectFailure([volume], 5, "manifest", "damaged", path);
    flipAt(path, 200);
    flipAt(path, -1);
    await expectFailure([volume], 5, "manifest", "damaged", path);
    writeFileSync(path, "");
    await expectFailure([volume], 5, "manifest", "damaged", path);
  });
  test("a header missing, flipped, too long", async () => {
    const path = inSession("header");
    const args = [volume, "--session", first.name];
    const bytes = readFileSync(path);
    flipAt(path, 120);
    await expectFailure(args, 5, "session header", "damaged", path);
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(10_000)]));
    await expectFailure(args, 5, "session header", "damaged", path);
    rmSync(path);
    await expectFailure(args, 5, "session header", "missing", path);
  });
  test("an index missing, flipped, older under the newer name", async () => {
    const path = join(volume, "index.2");
    flipAt(path, 150);
    await expectFailure([volume], 5, "index", "damaged", path);
    copyFileSync(join(volume, "index.1"), path);
    await expectFailure([volume], 5, "index", "the head names", path);
    rmSync(path);
    await expectFailure([volume], 5, "index", "missing", path);
  });
  test("the newest head damaged: said, with the way round it", async () => {
    const path = join(archive.path, "heads", "2");
    flipAt(path, 100);
    await expectFailure([volume], 5, "head 2", "damaged", path, "hint: --allow-older-head");
    const older = await run([volume, "--list", "--allow-older-head"]);
    expect(older.status).toBe(0);
    expect(older.stderr).toContain("warning: head 2 is damaged");
    expect(older.stdout.toString()).toContain(first.name);
    expect(older.stdout.toString()).not.toContain(second.name);
  });
  test("a head of another archive", async () => {
    const other = createTestArchive(join(scratch(), "other"));
    other.send({ vm: image });
    copyFileSync(join(other.path, "heads", "1"), join(archive.path, "heads", "3"));
    await expectFailure([volume], 5, "head 3", "damaged");
  });
  test("the archive's header lost: the volume's copy takes its place", async () => {
    const path = join(archive.path, "archive");
    flipAt(path, 90);
    const ran = await run([volume, "--verify"]);
    expect(ran.stderr).toContain("warning: archive header is damaged");
    expect(ran.status).toBe(0);
    rmSync(path);
    expect((await run([volume, "--verify"])).status).toBe(0);
    flipAt(join(volume, "archive"), 90);
    await expectFailure([volume], 1, "archive header is missing");
  });
  test("another archive's header", async () => {
    const other = createTestArchive(join(scratch(), "other"));
    copyFileSync(join(other.path, "archive"), join(archive.path, "archive"));
    await expectFailure([volume], 5, "head 2");
  });
});

describe("an archive that lies, with all digests right", () => {
  /** A newest session whose chunk at 10 is what `change` makes of it. */
  function lie(change: (entry: ChunkEntry) => readonly ManifestEntry[]): TestSession {
    const altered = imageOf(40 * chunk, { 0: image, 10: noise(1) });
    return archive.send(
      { vm: altered },
      {
        alterEntries: (entries) =>
          entries.flatMap((each) =>
            each.kind === "chunk" && each.address === 10 * chunk ? change(each) : each,
          ),
      },
    )["vm"]!;
  }
  /** Puts other bytes under the chunk's name and gives what the manifest has to say of them. */
  function store(session: () => TestSession, bytes: Uint8Array): () => void {
    return () => writeFileSync(join(session().path, "000000000", "x00000000000a0000"), bytes);
  }

  test("a map that leaves a chunk out", async () => {
    const session = lie(() => []);
    await expectFailure([volume], 5, "map of the session", session.name);
  });
  test("a chunk that decompresses to more than a chunk", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    const session: TestSession = lie((each) => [
      { ...each, storedLength: bomb.length, checksum: sha256(bomb) },
    ]);
    store(() => session, bomb)();
    await expectFailure([volume], 5, "zstd can't decompress it to 65536 bytes", session.name);
  });
  test("a chunk that decompresses to less", async () => {
    const little = zstdCompressSync(Buffer.alloc(100, 1));
    const session = lie((each) => [{ ...each, storedLength: little.length, checksum: sha256(little) }]);
    store(() => session, little)();
    await expectFailure([volume], 5, "100 bytes, wanted 65536", session.name);
  });
  test("bytes that are no zstd frame", async () => {
    const text = Buffer.from("not zstd at all");
    const session = lie((each) => [{ ...each, storedLength: text.length, checksum: sha256(text) }]);
    store(() => session, text)();
    await expectFailure([volume], 5, "damaged", session.name);
  });
  test("a frame with something behind it", async () => {
    const plain = noise(1);
    const frame = Buffer.concat([zstdCompressSync(plain), Buffer.from("more")]);
    const session = lie((each) => [{ ...each, storedLength: frame.length, checksum: sha256(frame) }]);
    store(() => session, frame)();
    await expectFailure([volume], 5, "damaged", session.name);
  });
  test("another chunk's content", async () => {
    const other = zstdCompressSync(noise(1));
    const session = lie((each) => [{ ...each, storedLength: other.length, checksum: sha256(other) }]);
    store(() => session, other)();
    await expectFailure([volume], 5, "plaintext does not have the id", session.name);
  });
});

describe("what this version can't read", () => {
  test("a newer version of the format", async () => {
    const path = join(archive.path, "heads", "2");
    const bytes = readFileSync(path);
    bytes.writeUInt16BE(2, 8);
    writeFileSync(path, bytes);
    await expectFailure(
      [volume],
      1,
      "version 2, wanted 1",
      "hint: the archive was written by a newer version",
    );
  });
  test("a sealed archive", async () => {
    const sealed = createTestArchive(join(scratch(), "sealed"), {
      header: { sealed: true, idSeed: new Uint8Array(32) },
    });
    sealed.send({ vm: image });
    await expectFailure(
      [sealed.volumePath("vm")],
      1,
      "sealed",
      "hint: give --key with what `sparsebak key --export",
    );
  });
  test("a file of another kind under a head's name", async () => {
    const bytes = readFileSync(join(volume, "index.2"));
    const body = bytes.subarray(prefixBytes, -32);
    writeFileSync(join(archive.path, "heads", "2"), encodeFile(decodePrefix(bytes), body));
    await expectFailure([volume], 5, "head 2");
  });
});

describe("a volume's directory that was copied alone", () => {
  test("is enough, and that nothing confirms it is said", async () => {
    const copy = join(scratch(), "vm");
    cpSync(volume, copy, { recursive: true });
    const out = join(scratch(), "image");
    const ran = await run([copy, "-o", out, "--session", first.name]);
    expect(ran.stderr).toContain("warning: no heads beside this volume");
    expect(ran.status).toBe(0);
    expect(readFileSync(out).equals(image)).toBe(true);
  });
  test("an index that does not decode gives way to the one before it, said aloud", async () => {
    const copy = join(scratch(), "vm");
    cpSync(volume, copy, { recursive: true });
    flipAt(join(copy, "index.2"), 150);
    const ran = await run([copy, "--list"]);
    expect(ran.stderr).toContain("warning: index is damaged");
    expect(ran.stdout.toString()).toContain("vm: 1 session");
  });
  test("chunks in another volume are named as what is missing", async () => {
    const shared = createTestArchive(join(scratch(), "shared"), { shared: true });
    shared.send({ template: image });
    shared.send({ vm: image });
    const copy = join(scratch(), "vm");
    cpSync(shared.volumePath("vm"), copy, { recursive: true });
    await expectFailure([copy], 5, "another volume of the archive", "hint: use the whole archive");
  });
});
