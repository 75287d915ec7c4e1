import { createHash } from "node:crypto";
import { openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  type ChunkPlace,
  createTable,
  DamagedTableError,
  entriesOf,
  findChunk,
  openTable,
  pageBytes,
} from "../../../dom0-agent/state/chunk-table.ts";
import type { ChunkAddress, Digest } from "../../../protocol/archive/types.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { tempDir } from "../../support/temp-dir.ts";

function idOf(i: number): Uint8Array {
  return new Uint8Array(createHash("sha256").update(`id ${i}`).digest());
}

function placeOf(i: number): ChunkPlace {
  return {
    container: i % 7,
    storedAddress: (i * 65_536) as ChunkAddress,
    storedLength: 1 + i,
    checksum: new Uint8Array(createHash("sha256").update(`sum ${i}`).digest()) as Digest,
  };
}

describe("chunk table", () => {
  test("finds every entry and no other, also where pages have overflowed, and from another descriptor", () => {
    using directory = tempDir();
    const path = join(directory.path, "table");
    // Room for 500; three times as many go in, so most pages pass entries on.
    using table = createTable(path, 500);
    for (let i = 0; i < 700; i++) expect(table.add(idOf(i), placeOf(i))).toBe(true);
    expect(table.add(idOf(3), placeOf(4))).toBe(false);
    expect(table.entries).toBe(700);
    for (let i = 0; i < 700; i++) expect(table.find(idOf(i))).toEqual(placeOf(i));
    for (let i = 700; i < 900; i++) expect(table.find(idOf(i))).toBeUndefined();
    table.flush();
    using other = openTable(path, table.file.pages, 700);
    const page = new Uint8Array(pageBytes);
    for (let i = 0; i < 700; i++) expect(findChunk(other.file, idOf(i), page)).toEqual(placeOf(i));
    const seen = [...entriesOf(other.file)].map(({ place }) => place.storedAddress / 65_536);
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 700 }, (_, i) => i));
  });

  test("is full when it is full, and says so", () => {
    using directory = tempDir();
    using table = createTable(join(directory.path, "table"), 1);
    for (let i = 0; i < 51; i++) table.add(idOf(i), placeOf(i));
    expect(() => table.add(idOf(51), placeOf(51))).toThrow(/fill all 1 pages/);
    for (let i = 0; i < 51; i++) expect(table.find(idOf(i))).toEqual(placeOf(i));
  });

  test("drops what is gone, keeps the rest, and never holds an id twice afterwards", () => {
    using directory = tempDir();
    using table = createTable(join(directory.path, "table"), 400);
    for (let i = 0; i < 560; i++) table.add(idOf(i), placeOf(i));
    expect(table.drop((container) => container === 2)).toBe(80);
    for (let i = 0; i < 560; i++) expect(table.find(idOf(i))).toEqual(i % 7 === 2 ? undefined : placeOf(i));
    // There is room again in front of entries that had overflowed: they are still found, not added once more.
    for (let i = 0; i < 560; i++) expect(table.add(idOf(i), placeOf(i))).toBe(i % 7 === 2);
    expect(table.entries).toBe(560);
    table.flush();
    const ids: string[] = [];
    for (const { id } of entriesOf(table.file)) ids.push(toHex(id));
    expect(new Set(ids).size).toBe(560);
    expect(ids.length).toBe(560);
  });

  test("a page that was changed by anybody else is noticed", () => {
    using directory = tempDir();
    const path = join(directory.path, "table");
    using table = createTable(path, 1);
    for (let i = 0; i < 10; i++) table.add(idOf(i), placeOf(i));
    table.flush();
    const page = new Uint8Array(pageBytes);
    for (const at of [0, 40, 799, 4080, 4090, 4095]) {
      const fd = openSync(path, "r+");
      const found = findChunk(table.file, idOf(0), page);
      expect(found).toEqual(placeOf(0));
      const before = page[at] ?? 0;
      writeSync(fd, new Uint8Array([before ^ 1]), 0, 1, at);
      expect(() => findChunk(table.file, idOf(0), page), `byte ${at}`).toThrow(DamagedTableError);
      writeSync(fd, new Uint8Array([before]), 0, 1, at);
    }
  });

  test("an address above 2^53 is damage, though the CRC-32 fits", () => {
    using directory = tempDir();
    const path = join(directory.path, "table");
    using table = createTable(path, 1);
    table.add(idOf(0), placeOf(0));
    table.flush();
    const page = readFileSync(path);
    const stored = page.indexOf(placeOf(0).checksum) + 32;
    page.writeBigUInt64BE(2n ** 53n + 1n, stored);
    page.writeUInt32BE(crc32(page.subarray(0, -4)), pageBytes - 4);
    writeFileSync(path, page);
    expect(() => table.find(idOf(0))).toThrow(DamagedTableError);
    expect(() => [...entriesOf(table.file)]).toThrow(DamagedTableError);
    expect(() => table.drop((_, address) => address === 2 ** 53)).toThrow(DamagedTableError);
    // What is not asked for is not looked at.
    expect(table.find(idOf(1))).toBeUndefined();
  });
});
