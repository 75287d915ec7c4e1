import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  createJournal,
  type JournalIdentity,
  journalIdentity,
  readJournal,
} from "../../../dom0-agent/state/journal.ts";
import type { ChunkEntry } from "../../../protocol/archive/manifest.ts";
import type { ChunkAddress, ChunkId, Digest } from "../../../protocol/archive/types.ts";
import { tempDir } from "../../support/temp-dir.ts";

const headBytes = 92;
const recordBytes = 80;
const bytes = (fill: number, length: number): never => new Uint8Array(length).fill(fill) as never;
const identity: JournalIdentity = {
  archive: bytes(1, 16),
  volume: bytes(2, 16),
  session: bytes(3, 16),
  group: bytes(4, 16),
  size: 1_000_000_000,
  chunkSize: 65_536,
};

function chunk(i: number): ChunkEntry {
  const address = (i * 65_536) as ChunkAddress;
  const [id, checksum] = [bytes(1 + (i % 250), 32) as ChunkId, bytes(i % 200, 32) as Digest];
  return {
    kind: "chunk",
    address,
    run: 1,
    id,
    container: 0,
    storedAddress: address,
    storedLength: 10 + i,
    checksum,
  };
}

/** A journal of `count` chunks at `path`. */
function written(path: string, count: number): void {
  using journal = createJournal(path, identity);
  for (let i = 0; i < count; i += 7)
    journal.add(Array.from({ length: Math.min(7, count - i) }, (_, n) => chunk(i + n)));
}

function addresses(path: string): number[] {
  return [...readJournal(path)].map((each) => each.address / 65_536);
}

describe("journal", () => {
  test("gives back whose it is and what was noted", () => {
    using directory = tempDir();
    const path = join(directory.path, "journal");
    written(path, 3000);
    expect(journalIdentity(path)).toEqual(identity);
    const seen = [...readJournal(path)];
    expect(seen.length).toBe(3000);
    for (const [i, { address, storedLength, checksum, id }] of seen.entries())
      expect({ address, storedLength, checksum, id }).toEqual({
        address: chunk(i).address,
        storedLength: chunk(i).storedLength,
        checksum: chunk(i).checksum,
        id: chunk(i).id,
      });
  });

  test("one that was begun and got nothing, or that is not there, has nothing", () => {
    using directory = tempDir();
    const path = join(directory.path, "journal");
    written(path, 0);
    expect(journalIdentity(path)).toBeUndefined();
    expect(addresses(path)).toEqual([]);
  });

  test("ends where it is torn, damaged, or of zeros that a power cut has left", () => {
    using directory = tempDir();
    const path = join(directory.path, "journal");
    const all = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
    written(path, 30);
    truncateSync(path, headBytes + recordBytes * 21 + 79);
    expect(addresses(path)).toEqual(all(21));
    for (const at of [0, 10, 30, 60, 79]) {
      written(path, 30);
      const content = readFileSync(path);
      const place = headBytes + recordBytes * 12 + at;
      content[place] = (content[place] ?? 0) ^ 4;
      writeFileSync(path, content);
      expect(addresses(path), `byte ${at}`).toEqual(all(12));
    }
    written(path, 30);
    appendFileSync(path, Buffer.alloc(recordBytes * 3));
    expect(addresses(path)).toEqual(all(30));
    // Records of another time behind it do not count either.
    appendFileSync(path, readFileSync(path).subarray(headBytes, headBytes + recordBytes * 4));
    expect(addresses(path)).toEqual(all(30));
  });

  test("a damaged head is nobody's", () => {
    using directory = tempDir();
    const path = join(directory.path, "journal");
    for (let at = 0; at < headBytes; at += 7) {
      written(path, 2);
      const content = readFileSync(path);
      content[at] = (content[at] ?? 0) ^ 1;
      writeFileSync(path, content);
      expect(journalIdentity(path), `byte ${at}`).toBeUndefined();
    }
    truncateSync(path, 50);
    expect(journalIdentity(path)).toBeUndefined();
  });
});
