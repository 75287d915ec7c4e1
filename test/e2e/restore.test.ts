// Restoring, verifying and comparing through the built programs: real agent, real receiver, image files. What a user has
// afterwards: the bytes, the exit status, and nothing half-made under a name that matters.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";

const mib = 1024 * 1024;
const volume = "work.img";
const settings = ["chunk-size = 64K"];

type Line = Readonly<Record<string, unknown>>;

function linesOf(ended: Ended): readonly Line[] {
  return ended.stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
}

function lineOf(ended: Ended, name = volume): Line {
  return linesOf(ended).find((line) => line["type"] === "volume" && line["volume"] === name) ?? {};
}

function good(ended: Ended): Line {
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null });
  return lineOf(ended);
}

/** Bytes that the file really occupies. */
function occupied(path: string): number {
  return statSync(path).blocks * 512;
}

const other = "other.img";

interface Sent {
  readonly name: string;
  /** SHA-256 of the image, and its size. */
  readonly digest: string;
  readonly size: number;
}

let site: Site;
/** Sessions of `volume`, oldest first: a directory, a tar after growth, a directory after a shrink. */
const sessions: Sent[] = [];
/** `other` has one, which shares chunks with the first two of `volume`. */
let otherDigest = "";
/** Puts archive, state and images back to what they were after the sends. */
let reset: () => void;

beforeAll(async () => {
  site = await makeSite({ volumes: [volume], driveBytes: 128 * mib, settings, local: true });
  writeFileSync(site.ini, `${readFileSync(site.ini, "utf8")}[groups]\nall = *.img\n`);
  const image = site.image(volume);
  const send = async (...args: string[]): Promise<void> => {
    const { session } = good(await site.sparsebak(["-u", "--json", "send", ...args]));
    sessions.push({ name: String(session), digest: sha256Of(image), size: statSync(image).size });
  };
  makeImage(image, { size: 12 * mib + 12_345, dataBytes: 3 * mib, seed: 7 });
  await send("--tag", "first");
  truncateSync(image, 20 * mib);
  changeImage(image, mib, 8, 20 * mib);
  await send("--tarfile");
  copyFileSync(image, site.image(other));
  changeImage(site.image(other), mib / 4, 5, 20 * mib);
  const shared = lineOf(await site.sparsebak(["-u", "--json", "send", other]), other);
  expect(Number(shared["storedBytes"])).toBeLessThan(mib);
  otherDigest = sha256Of(site.image(other));
  truncateSync(image, 9 * mib + 777);
  changeImage(image, mib / 2, 9, 9 * mib);
  await send();
  const saved = join(site.directory, "saved");
  const places = [site.archive, site.images, join(site.state, "archives")];
  for (const place of places) cpSync(place, join(saved, basename(place)), { recursive: true });
  reset = () => {
    for (const place of places) {
      rmSync(place, { recursive: true, force: true });
      cpSync(join(saved, basename(place)), place, { recursive: true });
    }
    rmSync(join(site.state, "kept"), { force: true });
    for (const name of readdirSync(site.directory))
      if (name.endsWith(".img")) rmSync(join(site.directory, name));
  };
});
beforeEach(() => reset());
afterAll(async () => site[Symbol.asyncDispose]());

/** Every file below the images' and the state's directory that a restore could have left. */
function strays(): readonly string[] {
  return [site.images, site.state]
    .flatMap((directory) => readdirSync(directory, { recursive: true }).map(String))
    .filter((name) => /sparsebak-restore$|-tmp$|\.restore|^restoring$|verify$/.test(name));
}

describe("three sessions, a directory, a tar and a directory", () => {
  test("each is restored to a file: equal byte for byte, holes stay holes, growth and shrink included", async () => {
    for (const { name, digest, size } of sessions) {
      const path = join(site.directory, `${name}.img`);
      const line = good(
        await site.sparsebak(["--json", "receive", volume, "--session", name, "--save-to", path]),
      );
      expect(line).toMatchObject({ command: "receive", ok: true, session: name, size });
      expect(sha256Of(path)).toBe(digest);
      expect(occupied(path)).toBeLessThan(7 * mib);
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    const byTag = join(site.directory, "tagged.img");
    good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", byTag]));
    expect(sha256Of(byTag)).toBe(sessions[0]?.digest);
    expect(strays()).toEqual([]);
  });

  test("a volume whose chunks lie in another one's sessions; patterns and --all", async () => {
    const path = join(site.directory, "shared.img");
    good(await site.sparsebak(["receive", other, "--save-to", path]));
    expect(sha256Of(path)).toBe(otherDigest);
    const all = await site.sparsebak(["--json", "verify", "--all", "--all-sessions"]);
    expect(good(all)).toMatchObject({ sessions: sessions.map((each) => each.name) });
    expect(lineOf(all, other)).toMatchObject({ ok: true });
    const some = await site.sparsebak(["--json", "diff", "o*.img", "--quick"]);
    expect(linesOf(some)).toMatchObject([{ volume: other, differingBytes: 0 }]);
    expect(await site.sparsebak(["diff", "x*", "--quick"])).toMatchObject({ code: 1 });
  });

  test("verify: one session, all sessions; what it says can be read by a program", async () => {
    expect(good(await site.sparsebak(["--json", "verify", volume]))).toMatchObject({
      ok: true,
      sessions: [sessions[2]?.name],
    });
    const all = good(await site.sparsebak(["--json", "verify", volume, "--all-sessions"]));
    expect(all).toMatchObject({ sessions: sessions.map((each) => each.name) });
    expect(Number(all["readBytes"])).toBeGreaterThan(0);
  });

  test("list: volumes, sessions, all about one session", async () => {
    const volumes = linesOf(await site.sparsebak(["--json", "list"]));
    expect(volumes).toMatchObject([
      { type: "volume", name: other, sessions: 1 },
      { type: "volume", name: volume, sessions: 3, last: sessions[2]?.name },
    ]);
    const [, ...listed] = linesOf(await site.sparsebak(["--json", "list", volume]));
    expect(listed).toMatchObject(
      sessions.map(({ name, size }, i) => ({
        type: "session",
        name,
        size,
        sequence: i + 1,
        form: i === 1 ? "tar" : "dir",
        tags: i === 0 ? ["first"] : [],
        protected: false,
        consistency: "file",
      })),
    );
    expect(Number(listed[1]?.["storedBytes"])).toBeLessThan(Number(listed[0]?.["storedBytes"]));
    const one = await site.sparsebak(["list", volume, "--session", "first"]);
    expect(one.stdout).toMatch(/^work\.img S_\S+\n {2}uid +[0-9a-f]{32}\n {2}sequence +1\n {2}taken /);
    expect(one.stdout).toMatch(/added +\d+ chunks, \d+ bytes stored/);
    expect(await site.sparsebak(["list", volume, "--session", "no-such"])).toMatchObject({ code: 1 });
  });

  test("diff: 0 where it is equal, 1 with the ranges where it is not, by bytes and by ids", async () => {
    for (const quick of [[], ["--quick"]]) {
      const equal = await site.sparsebak(["--json", "diff", volume, ...quick]);
      expect(good(equal)).toMatchObject({ differingBytes: 0, ranges: [] });
      const before = readFileSync(site.image(volume));
      const changed = Buffer.from(before);
      changed[200_000] = (changed[200_000] ?? 0) ^ 1;
      changed.fill(7, 4 * mib, 4 * mib + 10);
      writeFileSync(site.image(volume), changed);
      const differs = await site.sparsebak(["--json", "diff", volume, ...quick]);
      expect(differs).toMatchObject({ code: 1 });
      expect(lineOf(differs)).toMatchObject({
        ok: true,
        differingBytes: 2 * 65_536,
        ranges: [
          { offset: 3 * 65_536, length: 65_536 },
          { offset: 4 * mib, length: 65_536 },
        ],
      });
      writeFileSync(site.image(volume), before);
    }
    // Against an older, larger session: from the chunk of the smaller end on all differs.
    const older = lineOf(
      await site.sparsebak(["--json", "diff", volume, "--session", sessions[1]?.name ?? ""]),
    );
    expect(older).toMatchObject({ size: 9 * mib + 777, sessionSize: 20 * mib });
    const ranges = older["ranges"] as { offset: number; length: number }[];
    expect(ranges.at(-1)).toEqual({ offset: 9 * mib, length: 11 * mib });
  });

  test("diff of two: 1 where one differs and the other is equal, 3 where one can't be compared", async () => {
    changeImage(site.image(volume), mib / 4, 10, 9 * mib);
    for (const quick of [[], ["--quick"]]) {
      const one = await site.sparsebak(["--json", "diff", volume, other, ...quick]);
      expect(one, one.stderr).toMatchObject({ code: 1 });
      expect(lineOf(one, other)).toMatchObject({ ok: true, differingBytes: 0 });
    }
    rmSync(site.image(other));
    const failed = await site.sparsebak(["--json", "diff", volume, other]);
    expect(failed, failed.stderr).toMatchObject({ code: 3 });
    expect(lineOf(failed, other)).toMatchObject({ ok: false });
  });

  test("into the storage: the restored image takes the place, the old one is kept until --confirm", async () => {
    const image = site.image(volume);
    writeFileSync(image, "something else");
    const line = good(await site.sparsebak(["--json", "receive", volume, "--session", "first"]));
    expect(sha256Of(image)).toBe(sessions[0]?.digest);
    const kept = String(line["kept"]);
    expect(readFileSync(join(site.images, kept), "utf8")).toBe("something else");
    good(await site.sparsebak(["receive", volume]));
    expect(sha256Of(image)).toBe(sessions[2]?.digest);
    const old = readdirSync(site.images).filter((name) => name.includes(".old-"));
    expect(old).toHaveLength(2);
    // Another file in the place of one of them is left alone, and so is the word of it.
    const [first = ""] = old;
    renameSync(join(site.images, first), join(site.images, "aside"));
    writeFileSync(join(site.images, first), "another");
    const refused = await site.sparsebak(["receive", "--confirm", volume]);
    expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining(`${first} not removed`) });
    renameSync(join(site.images, "aside"), join(site.images, first));
    good(await site.sparsebak(["receive", volume]));
    const again = readdirSync(site.images).filter((name) => name.includes(".old-"));
    expect(again).toHaveLength(2);
    old.splice(0, old.length, ...again);
    const confirmed = await site.sparsebak(["receive", "--confirm", volume]);
    expect(confirmed).toMatchObject({ code: 0 });
    for (const name of old) expect(confirmed.stdout).toContain(`${name} removed`);
    expect(readdirSync(site.images).sort()).toEqual([other, volume]);
    expect((await site.sparsebak(["receive", "--confirm", volume])).stdout).toContain(
      "no old volume is kept",
    );
    expect(strays()).toEqual([]);
  });

  test("an image that is gone comes back; one in use is refused", async () => {
    const image = site.image(volume);
    rmSync(image);
    good(await site.sparsebak(["receive", volume]));
    expect(sha256Of(image)).toBe(sessions[2]?.digest);
    const held = openSync(image, "r");
    const refused = await site.sparsebak(["receive", volume]);
    closeSync(held);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/work\.img: it is in use: process \d+ has it open/);
    expect(readdirSync(site.images).sort()).toEqual([other, volume]);
  });

  test("--in-place writes over the image; with --sparse-write only what differs", async () => {
    const image = site.image(volume);
    const inode = statSync(image).ino;
    const older = sessions[1]?.name ?? "";
    const whole = good(await site.sparsebak(["--json", "receive", volume, "--in-place", "--session", older]));
    expect(sha256Of(image)).toBe(sessions[1]?.digest);
    expect(Number(whole["fetchedBytes"])).toBeGreaterThan(mib / 2);
    changeImage(image, 3 * 65_536, 21, 20 * mib);
    const sparse = good(
      await site.sparsebak(["--json", "receive", volume, "--in-place", "--sparse-write", "--session", older]),
    );
    expect(sha256Of(image)).toBe(sessions[1]?.digest);
    const changed = Number(sparse["writtenBytes"]) + Number(sparse["discardedBytes"]);
    expect(changed).toBeGreaterThan(0);
    expect(changed).toBeLessThan(Number(whole["writtenBytes"]) / 2);
    const again = good(
      await site.sparsebak(["--json", "receive", volume, "--in-place", "--sparse-write", "--session", older]),
    );
    expect(again).toMatchObject({ fetchedBytes: 0, writtenBytes: 0, discardedBytes: 0 });
    good(await site.sparsebak(["receive", volume, "--in-place"]));
    expect(sha256Of(image)).toBe(sessions[2]?.digest);
    expect(statSync(image).ino).toBe(inode);
    expect(await site.sparsebak(["receive", volume, "--sparse-write"])).toMatchObject({ code: 2 });
  });

  test("--in-place: holes are given back, and what is restored occupies what its data does", async () => {
    const image = site.image(volume);
    const { name = "", digest, size = 0 } = sessions[0] ?? {};
    writeFileSync(image, Buffer.alloc(size, 0x55));
    expect(occupied(image)).toBeGreaterThanOrEqual(size);
    const { discardedBytes } = good(
      await site.sparsebak(["--json", "receive", volume, "--in-place", "--session", name]),
    );
    expect(sha256Of(image)).toBe(digest);
    expect(Number(discardedBytes)).toBeGreaterThan(size / 2);
    expect(occupied(image)).toBeLessThanOrEqual(size - Number(discardedBytes) + 65_536);
  });

  test("--save-to: an existing file is refused, replaced with --force, updated with --sparse-write", async () => {
    const path = join(site.directory, "there.img");
    writeFileSync(path, "mine");
    const refused = await site.sparsebak(["receive", volume, "--save-to", path]);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/there\.img: it exists already/);
    expect(readFileSync(path, "utf8")).toBe("mine");
    chmodSync(path, 0o640);
    good(await site.sparsebak(["receive", volume, "--save-to", path, "--force"]));
    expect(statSync(path).mode & 0o7777).toBe(0o640);
    {
      const before = sha256Of(path);
      const fd = openSync(path, "r");
      for (const update of [[], ["--sparse-write"]]) {
        const inUse = await site.sparsebak(["receive", volume, "--save-to", path, "--force", ...update]);
        expect(inUse).toMatchObject({ code: 1 });
        expect(inUse.stderr).toMatch(/in use: process \d+ has it open/);
      }
      closeSync(fd);
      expect(sha256Of(path)).toBe(before);
    }
    expect(sha256Of(path)).toBe(sessions[2]?.digest);
    const update = ["--json", "receive", volume, "--save-to", path, "--force", "--sparse-write"];
    const inode = statSync(path).ino;
    good(await site.sparsebak([...update, "--session", "first"]));
    expect(sha256Of(path)).toBe(sessions[0]?.digest);
    expect(statSync(path).ino).toBe(inode);
    expect(await site.sparsebak(["receive", volume, "--save-to", site.images])).toMatchObject({ code: 1 });
  });

  test("--save-to a block device: what was there is gone, holes too; a small or busy one is refused", async () => {
    const disk = join(site.directory, "device.img");
    writeFileSync(disk, Buffer.alloc(24 * mib, 0x55));
    using loop = loopDevice(disk);
    good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", loop.path]));
    const size = sessions[0]?.size ?? 0;
    spawnSync("sync");
    // A loop device can punch holes into the file behind it.
    expect(occupied(disk)).toBeLessThan(24 * mib - (sessions[0]?.size ?? 0) + 5 * mib);
    const bytes = readFileSync(loop.path);
    const wanted = join(site.directory, "wanted.img");
    good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", wanted]));
    expect(bytes.subarray(0, size).equals(readFileSync(wanted))).toBe(true);
    expect(bytes.subarray(size).every((byte) => byte === 0x55)).toBe(true);
    const small = join(site.directory, "small.img");
    writeFileSync(small, Buffer.alloc(mib));
    using smallLoop = loopDevice(small);
    const refused = await site.sparsebak(["receive", volume, "--save-to", smallLoop.path]);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toMatch(/found 1048576 bytes, wanted 9437961 or more/);
  });
});

describe("damage", () => {
  function chunkFiles(session: string): readonly string[] {
    const found = spawnSync("find", [join(site.archive, volume, session), "-name", "x*", "-type", "f"], {
      encoding: "utf8",
    });
    return found.stdout.split("\n").filter(Boolean).sort();
  }

  test("a damaged chunk, a missing chunk: status 5, no file, the old image stays; verify says where", async () => {
    const image = site.image(volume);
    const before = sha256Of(image);
    const [first] = sessions;
    const files = chunkFiles(first?.name ?? "");
    const [file = "", second = ""] = files;
    const original = readFileSync(file);
    const broken = Buffer.from(original);
    broken[broken.length >> 1] = (broken[broken.length >> 1] ?? 0) ^ 0x10;
    writeFileSync(file, broken);

    const path = join(site.directory, "out.img");
    const saved = await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]);
    expect(saved).toMatchObject({ code: 5 });
    expect(saved.stderr).toMatch(/chunk at x[0-9a-f]{16}.* is damaged: its bytes do not have the checksum/);
    expect(existsSync(path)).toBe(false);
    const swapped = await site.sparsebak(["receive", volume, "--session", "first"]);
    expect(swapped).toMatchObject({ code: 5 });
    expect(sha256Of(image)).toBe(before);

    const secondBytes = readFileSync(second);
    rmSync(second);
    const verified = await site.sparsebak(["--json", "verify", volume, "--session", "first"]);
    expect(verified).toMatchObject({ code: 5 });
    const warning = linesOf(verified).find((line) => line["type"] === "warning") ?? {};
    expect(warning).toMatchObject({ session: first?.name, damagedChunks: 2 });
    const addresses = [file, second].map((name) => Number.parseInt(name.slice(-16), 16));
    const ranges = warning["ranges"] as { offset: number; length: number }[];
    for (const address of addresses) {
      expect(ranges.some((each) => each.offset <= address && address < each.offset + each.length)).toBe(true);
    }
    const all = await site.sparsebak(["--json", "verify", volume, "--all-sessions"]);
    expect(all).toMatchObject({ code: 5 });
    expect(lineOf(all)["damaged"]).toContain(first?.name);

    writeFileSync(file, original);
    const one = await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]);
    expect(one).toMatchObject({ code: 5 });
    expect(one.stderr).toMatch(/is missing/);
    expect(strays()).toEqual([]);
    writeFileSync(second, secondBytes);
    good(await site.sparsebak(["receive", volume, "--session", "first", "--save-to", path]));
    expect(sha256Of(path)).toBe(first?.digest);
  });

  test("one of several volumes fails: the other is restored, status 3", async () => {
    rmSync(site.image(other));
    rmSync(site.image(volume));
    const held = join(site.images, volume);
    mkdirSync(held); // a directory in the image's place can't be replaced
    const ended = await site.sparsebak(["--json", "receive", volume, other]);
    expect(ended).toMatchObject({ code: 3 });
    expect(lineOf(ended, volume)).toMatchObject({ ok: false });
    expect(lineOf(ended, other)).toMatchObject({ ok: true });
    expect(existsSync(site.image(other))).toBe(true);
    rmSync(held, { recursive: true });
    good(await site.sparsebak(["receive", volume]));
    expect(sha256Of(site.image(volume))).toBe(sessions[2]?.digest);
  });

  test("verify --all-sessions: a damaged header is one session's damage, and the others are looked at", async () => {
    const [first, , last] = sessions;
    const header = join(site.archive, volume, first?.name ?? "", "header");
    const [file = ""] = chunkFiles(last?.name ?? "");
    for (const path of [header, file]) {
      const bytes = readFileSync(path);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      writeFileSync(path, bytes);
    }
    const ended = await site.sparsebak(["--json", "verify", volume, "--all-sessions"]);
    expect(ended, ended.stderr).toMatchObject({ code: 5 });
    expect(lineOf(ended)).toMatchObject({
      sessions: sessions.map((each) => each.name),
      damaged: [first?.name, last?.name],
    });
    expect(ended.stdout + ended.stderr).toMatch(/header of S_\S+: read a header: its digest does not fit/);
  });

  test("a manifest that is another one: status 5 before anything is fetched", async () => {
    const directory = join(site.archive, volume, sessions[0]?.name ?? "");
    const [manifest = ""] = readdirSync(directory).filter((name) => name.startsWith("manifest."));
    const bytes = readFileSync(join(directory, manifest));
    bytes[bytes.length - 60] = (bytes[bytes.length - 60] ?? 0) ^ 1;
    writeFileSync(join(directory, manifest), bytes);
    const path = join(site.directory, "out.img");
    const ended = await site.sparsebak(["receive", volume, "--save-to", path]);
    expect(ended).toMatchObject({ code: 5 });
    expect(ended.stderr).toMatch(/manifest\.\d+ of S_/);
    expect(existsSync(path)).toBe(false);
    expect(await site.sparsebak(["verify", volume, "--all-sessions"])).toMatchObject({ code: 5 });
  });

  test("an archive that this dom0 has no key of is not opened", async () => {
    rmSync(join(site.state, "archives"), { recursive: true });
    const path = join(site.directory, "out.img");
    const ended = await site.sparsebak(["receive", volume, "--save-to", path]);
    expect(ended.code).toBe(5);
    expect(existsSync(path)).toBe(false);
  });
});

describe("kill -9", () => {
  test("the agent, at every 8th thing that it does: the old image or the new one, whole; the next run succeeds", async () => {
    const image = site.image(volume);
    const saved = join(site.directory, "saved.img");
    copyFileSync(image, saved);
    const old = sha256Of(image);
    const count = join(site.directory, "count");
    const args = ["receive", volume, "--session", "first"];
    good(await site.sparsebak(args, { countInto: count }));
    const steps = Number(readFileSync(count, "utf8"));
    expect(steps).toBeGreaterThan(12);
    const from = 1 + Math.floor(Math.random() * 8);
    for (let n = from; n <= steps; n += 8) {
      copyFileSync(saved, image);
      const killed = await site.sparsebak(args, { killAt: n });
      expect(killed.signal, `step ${n} of ${steps}: ${killed.stderr}`).toBe("SIGKILL");
      expect([old, sessions[0]?.digest], `step ${n}`).toContain(sha256Of(image));
      good(await site.sparsebak(args));
      expect(sha256Of(image), `step ${n}`).toBe(sessions[0]?.digest);
      expect(strays(), `step ${n}`).toEqual([]);
    }
  });

  test("to a file: nothing under the final name", async () => {
    const path = join(site.directory, "out.img");
    const args = ["receive", volume, "--save-to", path];
    const count = join(site.directory, "count");
    good(await site.sparsebak(args, { countInto: count }));
    rmSync(path);
    const steps = Number(readFileSync(count, "utf8"));
    for (const n of [steps - 4, steps - 2, steps - 1]) {
      const killed = await site.sparsebak(args, { killAt: n });
      expect(killed.signal).toBe("SIGKILL");
      if (!existsSync(path)) continue;
      expect(sha256Of(path)).toBe(sessions[2]?.digest);
      rmSync(path);
    }
    good(await site.sparsebak(args));
    expect(sha256Of(path)).toBe(sessions[2]?.digest);
  });
});

test("where holes can't be given back, zeros are written where there were none", async () => {
  await using own = await makeSite({ volumes: [volume], driveBytes: 64 * mib, settings, local: true });
  const image = own.image(volume);
  makeImage(image, { size: 4 * mib, dataBytes: mib, seed: 22 });
  const digest = sha256Of(image);
  good(await own.sparsebak(["-u", "send"]));
  writeFileSync(image, Buffer.alloc(4 * mib, 0x55));
  // In place of a file system that has no holes, which not every kernel can mount: fallocate says what it says there.
  const [tools = ""] = own.lab.dom0Path.split(":");
  const refusing = "#!/bin/sh\necho 'fallocate: fallocate failed: Operation not supported' >&2\nexit 1\n";
  writeFileSync(join(tools, "fallocate"), refusing, { mode: 0o755 });
  const line = good(await own.sparsebak(["--json", "receive", volume, "--in-place"]));
  expect(sha256Of(image)).toBe(digest);
  expect(line).toMatchObject({ writtenBytes: 4 * mib, discardedBytes: 0 });
});

test("a sealed archive: restored, verified and compared by what dom0 has; a chunk that is swapped for another is noticed", async () => {
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
  const { session } = good(await sealed.sparsebak(["-u", "--json", "send", "--tag", "first"]));
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

interface Loop extends Disposable {
  readonly path: string;
}

function loopDevice(file: string): Loop {
  const path = spawnSync("losetup", ["--find", "--show", file], { encoding: "utf8" }).stdout.trim();
  if (!path.startsWith("/dev/loop")) throw new Error("no loop device");
  return { path, [Symbol.dispose]: () => void spawnSync("losetup", ["-d", path]) };
}
