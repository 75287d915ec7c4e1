// What comes out is byte for byte what went in, whatever the sessions look like.

import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../../protocol/bytes.ts";
import { assembleVolume, type Assembled } from "../../../vm-receiver/assemble/assemble.ts";
import { createTestArchive } from "../../support/archive-writer.ts";
import { chunk, imageOf, noise, scratch, sha256Hex } from "./support.ts";

interface Wanted {
  readonly archivePath: string;
  readonly volumeDirectory?: string;
  readonly session?: string;
}

async function assemble(wanted: Wanted, path: string): Promise<Assembled> {
  return assembleVolume({
    volumeDirectory: "vm",
    ...wanted,
    output: { kind: "file", path, replace: false },
    signal: new AbortController().signal,
  });
}

/** Assembles each session and compares it with what it was made of. */
async function expectImages(archivePath: string, images: Readonly<Record<string, Buffer>>): Promise<void> {
  const directory = scratch();
  for (const [session, image] of Object.entries(images)) {
    const path = join(directory, session);
    const assembled = await assemble({ archivePath, session }, path);
    expect(readFileSync(path).equals(image)).toBe(true);
    expect(toHex(assembled.imageDigest)).toBe(sha256Hex(image));
    expect(assembled).toMatchObject({ size: image.length, session });
  }
}

describe.each(["dir", "tar"] as const)("sessions of the form %s", (form) => {
  test("holes, runs of equal chunks, noise and a short last chunk", async () => {
    const archive = createTestArchive(join(scratch(), "a"));
    const image = imageOf(40 * chunk + 777, {
      3: noise(5),
      10: Buffer.alloc(20 * chunk, 7),
      40: noise(1).subarray(0, 700),
    });
    const { vm } = archive.send({ vm: image }, { form });
    await expectImages(archive.path, { [vm!.name]: image });
  });

  test("changes, growth, shrinking and growth again", async () => {
    const archive = createTestArchive(join(scratch(), "a"));
    const images: Record<string, Buffer> = {};
    const send = (image: Buffer): void => {
      images[archive.send({ vm: image }, { form })["vm"]!.name] = image;
    };
    const first = imageOf(20 * chunk, { 0: noise(20) });
    send(first);
    send(imageOf(20 * chunk, { 0: first, 5: imageOf(2 * chunk), 9: noise(1) }));
    send(imageOf(30 * chunk + 100, { 0: first, 29: noise(1) }));
    send(first.subarray(0, 7 * chunk + 5));
    send(imageOf(25 * chunk, { 0: first.subarray(0, 7 * chunk + 5) }));
    send(first.subarray(0, 0));
    send(imageOf(1));
    await expectImages(archive.path, images);
  });

  test("an image of zeros takes no space", async () => {
    const archive = createTestArchive(join(scratch(), "a"));
    archive.send({ vm: imageOf(64 * chunk) }, { form });
    const path = join(scratch(), "image");
    await assemble({ archivePath: archive.path }, path);
    expect(statSync(path)).toMatchObject({ size: 64 * chunk, blocks: 0 });
  });
});

test("holes of the image are holes of the file", async () => {
  const archive = createTestArchive(join(scratch(), "a"));
  archive.send({ vm: imageOf(1000 * chunk, { 500: noise(1), 990: noise(2) }) });
  const path = join(scratch(), "image");
  await assemble({ archivePath: archive.path }, path);
  expect(statSync(path).blocks * 512).toBe(3 * chunk);
});

test("directories and tars in turn, with chunks that lie in earlier ones", async () => {
  const archive = createTestArchive(join(scratch(), "a"));
  const images: Record<string, Buffer> = {};
  let image = imageOf(30 * chunk, { 0: noise(30) });
  for (let i = 0; i < 6; i++) {
    const form = i % 2 === 0 ? "dir" : "tar";
    images[archive.send({ vm: image }, { form, deduplicate: i !== 3 })["vm"]!.name] = image;
    // Moves a chunk, so that the next session refers to where it was, and makes a new one.
    image = Buffer.from(image);
    image.copy(image, (20 + i) * chunk, i * chunk, (i + 1) * chunk);
    noise(1).copy(image, i * chunk);
  }
  await expectImages(archive.path, images);
});

test("chunks that lie in another volume of the archive", async () => {
  const archive = createTestArchive(join(scratch(), "a"), { shared: true });
  const common = noise(8);
  const image = imageOf(20 * chunk, { 2: common, 15: noise(1) });
  archive.send({ template: imageOf(10 * chunk, { 0: common }) }, { form: "tar" });
  archive.send({ vm: image });
  expect(readdirSync(join(archive.sessionsOf("vm")[0]!.path, "000000000"))).toEqual(["x00000000000f0000"]);
  await expectImages(archive.path, { [archive.sessionsOf("vm")[0]!.name]: image });
});

test("each of 200 sessions, though 64 manifests are open at once, and no temporary file stays", async () => {
  const archive = createTestArchive(join(scratch(), "a"));
  const images: Record<string, Buffer> = {};
  let image = imageOf(70 * chunk + 9, { 0: noise(70) });
  for (let i = 0; i < 200; i++) {
    images[archive.send({ vm: image }, { form: i % 50 === 49 ? "tar" : "dir" })["vm"]!.name] = image;
    image = Buffer.from(i % 40 === 39 ? image.subarray(0, image.length - chunk) : image);
    image.fill(i % 5 === 0 ? 0 : i, ((i * 7) % 60) * chunk, ((i * 7) % 60) * chunk + 100);
  }
  const names = Object.keys(images);
  const some = [0, 63, 64, 65, 127, 128, 129, 199].map((i) => names[i]!);
  const directory = scratch();
  for (const session of some) {
    await assemble({ archivePath: archive.path, session }, join(directory, session));
    expect(readFileSync(join(directory, session)).equals(images[session]!)).toBe(true);
  }
  expect(readdirSync(directory).sort()).toEqual(some);
});

test("chunks of 4 MiB", async () => {
  const archive = createTestArchive(join(scratch(), "a"), { chunkSize: 4 * 1024 * 1024 });
  const image = imageOf(1000 * chunk + 1, { 100: noise(200), 1000: Buffer.of(1) });
  archive.send({ vm: image });
  await expectImages(archive.path, { [archive.sessionsOf("vm")[0]!.name]: image });
});

test("an archive that is known by a descriptor only", async () => {
  const archive = createTestArchive(join(scratch(), "a"));
  const image = imageOf(5 * chunk, { 1: noise(2) });
  archive.send({ vm: image });
  archive.send({ vm: image }, { form: "tar" });
  const fd = openSync(archive.path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await expectImages(`/proc/self/fd/${fd}`, { [archive.sessionsOf("vm")[1]!.name]: image });
  } finally {
    closeSync(fd);
  }
});

test("any history of any images", { timeout: 120_000 }, async () => {
  const directory = scratch();
  const size = fc.integer({ min: 0, max: 12 * chunk });
  const content = fc.array(fc.constantFrom(0, 0, 1, 2, 3, 200), { minLength: 12, maxLength: 12 });
  const session = fc.record({ size, content, tar: fc.boolean(), deduplicate: fc.boolean() });
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(session, { minLength: 1, maxLength: 4 }), async (history) => {
      const archive = createTestArchive(join(directory, String(runs++)));
      mkdirSync(join(archive.path, "out"));
      const images = history.map((each) => {
        const image = Buffer.concat(each.content.map((byte) => Buffer.alloc(chunk, byte))).subarray(
          0,
          each.size,
        );
        archive.send({ vm: image }, { form: each.tar ? "tar" : "dir", deduplicate: each.deduplicate });
        return image;
      });
      for (const [i, { name }] of archive.sessionsOf("vm").entries()) {
        const path = join(archive.path, "out", name);
        await assemble({ archivePath: archive.path, session: name }, path);
        expect(readFileSync(path).equals(images[i]!)).toBe(true);
      }
    }),
    { numRuns: 12 },
  );
});
