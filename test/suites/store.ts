// What every form of a session must do, whatever it is written to (vm-receiver/store/store.ts). An implementation's test
// says how to read its chunks with nothing but standard tools.

import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeList } from "../../protocol/archive/list-file.ts";
import { encodeFile, fileDigest, plainPrefix, sha256 } from "../../protocol/archive/prefix.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Generation,
  SessionName,
  SessionUid,
  VolumeId,
} from "../../protocol/archive/types.ts";
import { type Directory, openAbsolute, openIfThere } from "../../vm-receiver/directory.ts";
import { partIdentity } from "../../vm-receiver/store/part.ts";
import type { NewSession, SessionFile, SessionWriter, Store } from "../../vm-receiver/store/store.ts";
import { removeTree } from "../../vm-receiver/store/remove.ts";
import { tempDir } from "../support/temp-dir.ts";

/** Stored chunks of the finished session `name` in the volume's directory, by address. */
export type ChunkReader = (volume: string, name: string) => ReadonlyMap<number, Uint8Array>;

const chunkSize = 65_536;
const name = "S_20261123-101500" as SessionName;
const session: NewSession = {
  archive: new Uint8Array(randomBytes(16)) as ArchiveUuid,
  volume: new Uint8Array(randomBytes(16)) as VolumeId,
  session: new Uint8Array(randomBytes(16)) as SessionUid,
  generation: 7 as Generation,
  name,
  chunkSize,
  size: 2 ** 45,
};
const { archive, volume: volumeId, generation } = session;
const header = encodeFile(plainPrefix("header", archive, volumeId, generation), randomBytes(300));
const manifest = encodeFile(plainPrefix("manifest", archive, volumeId, generation), randomBytes(70_000));

/** Addresses in three groups, one of them far behind 8 GiB. */
const chunks: ReadonlyMap<number, Uint8Array> = new Map(
  [0, 1, 5, 4095, 4096, 2 ** 28].map((index, i) => [
    index * chunkSize,
    new Uint8Array(randomBytes(1 + i * 9000)),
  ]),
);

function writeChunks(writer: SessionWriter): void {
  const reused = new Uint8Array(2 * chunkSize);
  for (const [address, bytes] of chunks) {
    reused.set(bytes);
    writer.writeChunk(address as ChunkAddress, reused.subarray(0, bytes.length), sha256(bytes));
    reused.fill(0xee);
  }
}

function writeMeta(writer: SessionWriter): void {
  for (const [file, bytes] of [
    ["header", header],
    ["manifest", manifest],
  ] as const) {
    const fd = writer.createMeta(file);
    writeSync(fd, bytes);
    closeSync(fd);
  }
}

async function writeAll(store: Store, volume: Directory): Promise<Uint8Array> {
  using writer = await store.begin(volume, session);
  writeChunks(writer);
  writeMeta(writer);
  const digest = writer.endList();
  await writer.publish();
  return digest;
}

function read(
  store: Store,
  volume: Directory,
  kind: SessionFile["kind"],
  at = kind === "list" ? (0 as Generation) : generation,
): Uint8Array | undefined {
  using found = store.open(volume, name, kind === "header" ? { kind } : { kind, generation: at });
  if (found === undefined) return undefined;
  const bytes = new Uint8Array(found.length);
  readSync(found.fd, bytes, 0, found.length, found.offset);
  return bytes;
}

/** Runs the suite for one store. */
export function storeSuite(store: Store, chunksOf: ChunkReader): void {
  describe(`store ${store.form}`, () => {
    test("a published session holds every chunk as it came, under its address", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      await writeAll(store, volume);
      expect(readdirSync(directory.path)).toEqual([store.finishedName(name)]);
      const found = chunksOf(directory.path, name);
      expect([...found.keys()]).toEqual([...chunks.keys()]);
      for (const [address, bytes] of chunks) expect(Buffer.compare(found.get(address)!, bytes)).toBe(0);
    });

    test("chunks can be read back one by one, in any order; what is not there is not there", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      expect(store.chunks(volume, name)).toBeUndefined();
      await writeAll(store, volume);
      using found = store.chunks(volume, name)!;
      const into = new Uint8Array(2 * chunkSize);
      for (const [address, bytes] of [...chunks, ...[...chunks].toReversed()]) {
        expect(found.read(address as ChunkAddress, into)).toBe(bytes.length);
        expect(Buffer.compare(into.subarray(0, bytes.length), bytes)).toBe(0);
        if (bytes.length > 1)
          expect(found.read(address as ChunkAddress, into.subarray(0, bytes.length - 1))).toBe(bytes.length);
      }
      for (const index of [2, 4097, 2 ** 27, 2 ** 30])
        expect(found.read((index * chunkSize) as ChunkAddress, into)).toBeUndefined();
    });

    test("header, manifest and list can be read back, and the list says what was stored", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      const digest = await writeAll(store, volume);
      expect(read(store, volume, "header")).toEqual(header);
      expect(read(store, volume, "manifest")).toEqual(manifest);
      expect(read(store, volume, "manifest", 6 as Generation)).toBeUndefined();
      const list = read(store, volume, "list")!;
      expect(fileDigest(list)).toEqual(digest);
      const entries = decodeList(list, session);
      expect(entries.map((each) => each.address)).toEqual([...chunks.keys()]);
      expect(entries.map((each) => each.storedLength)).toEqual(
        [...chunks.values()].map((bytes) => bytes.length),
      );
      expect(store.identityOf(volume, name)).toMatchObject({
        archive,
        volume: volumeId,
        session: session.session,
      });
    });

    test("until it is published it has no final name, and says whose it is", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      using writer = await store.begin(volume, session);
      writeChunks(writer);
      writeMeta(writer);
      expect(existsSync(join(directory.path, store.finishedName(name)))).toBe(false);
      expect(store.open(volume, name, { kind: "header" })).toBeUndefined();
      using part = openIfThere(volume, store.partName(name));
      expect(partIdentity(part!)).toMatchObject(session);
    });

    test("a session without chunks is a session", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      using writer = await store.begin(volume, session);
      writeMeta(writer);
      writer.endList();
      await writer.publish();
      expect(chunksOf(directory.path, name).size).toBe(0);
      expect(decodeList(read(store, volume, "list")!, session)).toEqual([]);
    });

    test("publishing does not replace what has the name already", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      using writer = await store.begin(volume, session);
      writeMeta(writer);
      writer.endList();
      writeFileSync(join(directory.path, store.finishedName(name)), "mine");
      await expect(writer.publish()).rejects.toMatchObject({ code: "exists" });
      expect(readFileSync(join(directory.path, store.finishedName(name)), "utf8")).toBe("mine");
    });

    test("a second header or manifest is an error, and so is a part that is there", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      using writer = await store.begin(volume, session);
      writeMeta(writer);
      expect(() => writer.createMeta("header")).toThrow("EEXIST");
      expect(() => writer.createMeta("manifest")).toThrow("EEXIST");
      await expect(store.begin(volume, session)).rejects.toMatchObject({ code: "exists" });
    });

    test("a checkpoint makes the chunks so far last, and goes on", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      using writer = await store.begin(volume, session);
      writeChunks(writer);
      expect(await writer.checkpoint()).toBe(true);
      expect(writer.written).toEqual({
        chunks: chunks.size,
        bytes: [...chunks.values()].reduce((sum, each) => sum + each.length, 0),
        address: [...chunks.keys()].at(-1),
      });
      writeMeta(writer);
      writer.endList();
      await writer.publish();
      expect(chunksOf(directory.path, name).size).toBe(chunks.size);
    });

    test("a session that was given up can be removed, and begun again", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      {
        using writer = await store.begin(volume, session);
        writeChunks(writer);
        writeMeta(writer);
      }
      await removeTree(volume, store.partName(name));
      expect(readdirSync(directory.path)).toEqual([]);
      await writeAll(store, volume);
      expect(chunksOf(directory.path, name).size).toBe(chunks.size);
    });

    test("removing a finished session leaves nothing of it", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      await writeAll(store, volume);
      await store.remove(volume, name);
      expect(readdirSync(directory.path)).toEqual([]);
      await store.remove(volume, name);
    });

    test("a removal tells of each file that is gone, and of each name that it has looked at", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      /** Bytes on the disk of all files below. */
      const taken = (): number =>
        readdirSync(directory.path, { recursive: true, withFileTypes: true })
          .filter((each) => each.isFile())
          .reduce((sum, each) => sum + statSync(join(each.parentPath, each.name)).blocks * 512, 0);
      const steps: number[] = [];
      const onRemoved = (bytes: number): void => void steps.push(bytes);
      const freed = (): number => steps.splice(0).reduce((sum, each) => sum + each, 0);

      {
        using writer = await store.begin(volume, session);
        writeChunks(writer);
        writeMeta(writer);
      }
      const files = readdirSync(directory.path, { recursive: true }).length;
      const inPart = taken();
      await removeTree(volume, store.partName(name), onRemoved);
      if (store.form === "dir") {
        const looks = steps.filter((each) => each === 0).length;
        expect(looks).toBeGreaterThanOrEqual(chunks.size);
        expect(steps.length - looks).toBeGreaterThanOrEqual(chunks.size);
        expect(steps.length).toBeLessThanOrEqual(2 * files);
      }
      expect(freed()).toBe(inPart);

      await writeAll(store, volume);
      const whole = taken();
      const dead = [...chunks.keys()].slice(2) as ChunkAddress[];
      await store.removeChunks(volume, name, dead, { punch: true, onRemoved });
      expect(steps.length).toBeGreaterThanOrEqual(dead.length);
      // A tar gets holes, and then takes a block more to say where they are.
      const blocks = store.form === "tar" ? 4096 : 0;
      const gone = whole - taken();
      expect(gone).toBeGreaterThan(0);
      expect(freed() - gone).toBeOneOf([0, blocks]);
      const left = taken();
      await store.remove(volume, name, onRemoved);
      expect(freed()).toBe(left);
    });

    test("what stands in a part and is not of a session is not removed, nor is anything beside it", async () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      {
        using writer = await store.begin(volume, session);
        writeChunks(writer);
      }
      const part = join(directory.path, store.partName(name));
      writeFileSync(join(part, "notes.txt"), "mine");
      const before = new Set(readdirSync(part, { recursive: true, encoding: "utf8" }));
      await expect(removeTree(volume, store.partName(name))).rejects.toMatchObject({ code: "not-allowed" });
      expect(new Set(readdirSync(part, { recursive: true, encoding: "utf8" }))).toEqual(before);
    });

    test("nonsense under a session's name is nobody's session", () => {
      using directory = tempDir();
      using volume = openAbsolute(directory.path);
      expect(store.identityOf(volume, name)).toBeUndefined();
      const path = join(directory.path, store.finishedName(name));
      if (store.form === "tar") writeFileSync(path, randomBytes(4096));
      else {
        mkdirSync(path);
        writeFileSync(join(path, "list"), randomBytes(200));
      }
      expect(store.identityOf(volume, name)).toBeUndefined();
    });
  });
}
