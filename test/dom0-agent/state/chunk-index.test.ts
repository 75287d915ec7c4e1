import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type ChunkIndex, dropChunkIndex, openChunkIndex } from "../../../dom0-agent/state/chunk-index.ts";
import { findChunk, pageBytes } from "../../../dom0-agent/state/chunk-table.ts";
import type { GroupPaths } from "../../../dom0-agent/state/layout.ts";
import type { ChunkAddress, Digest } from "../../../protocol/archive/types.ts";
import { tempDir } from "../../support/temp-dir.ts";

const bytes = (fill: number, length: number): never => new Uint8Array(length).fill(fill) as never;
const container = (i: number): { volume: never; session: never; listDigest: Digest } => ({
  volume: bytes(1, 16),
  session: bytes(i, 16),
  listDigest: bytes(100 + i, 32),
});
const volumes = (): { volume: never; indexDigest: Digest }[] => [
  { volume: bytes(1, 16), indexDigest: bytes(9, 32) },
];

function idOf(i: number): Uint8Array {
  return new Uint8Array(createHash("sha256").update(`id ${i}`).digest());
}

function pathsIn(directory: string): GroupPaths {
  const own = join(directory, "group");
  return { directory: own, table: join(own, "table"), stamp: join(own, "stamp") };
}

async function addTo(index: ChunkIndex, session: number, from: number, to: number): Promise<void> {
  await index.update(volumes, (edit) => {
    const number = edit.numberOf(container(session)) ?? 0;
    for (let i = from; i < to; i++) {
      const storedAddress = (i * 65_536) as ChunkAddress;
      edit.add(idOf(i), {
        container: number,
        storedAddress,
        storedLength: 1 + i,
        checksum: bytes(i % 250, 32),
      });
    }
    edit.complete(number);
  });
}

function found(index: ChunkIndex, from: number, to: number): number {
  const page = new Uint8Array(pageBytes);
  let count = 0;
  for (let i = from; i < to; i++) {
    const place = findChunk(index.file, idOf(i), page);
    if (place === undefined) continue;
    expect(place.storedAddress).toBe(i * 65_536);
    count++;
  }
  return count;
}

const fail = (message: string): never => expect.fail(message);

describe("chunk index", () => {
  test("grows with what is added, and is the same when it is opened again", async () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using index = openChunkIndex(paths, fail);
      expect(index.volumes).toEqual([]);
      await addTo(index, 1, 0, 3000);
      await addTo(index, 2, 2900, 9000);
    }
    using index = openChunkIndex(paths, fail);
    expect(index.entries).toBe(9000);
    expect(index.volumes).toEqual(volumes());
    expect(index.containers).toEqual([
      { ...container(1), complete: true },
      { ...container(2), complete: true },
    ]);
    expect(found(index, 0, 9000)).toBe(9000);
    expect(found(index, 9000, 10_000)).toBe(0);
  });

  test("forgets the chunks that are dropped, and those of containers that are gone", async () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using index = openChunkIndex(paths, fail);
      await addTo(index, 1, 0, 1000);
      await addTo(index, 2, 1000, 2000);
      await index.update(volumes, (edit) => {
        edit.renew(({ session }) => (session[0] === 1 ? undefined : bytes(7, 32)));
        edit.drop(() => (storedAddress) => storedAddress >= 1500 * 65_536);
      });
    }
    using index = openChunkIndex(paths, fail);
    expect(found(index, 0, 2000)).toBe(500);
    expect(found(index, 1000, 1500)).toBe(500);
    expect(index.containers.map((each) => each.listDigest)).toEqual([bytes(0, 32), bytes(7, 32)]);
  });

  test("a change that is cut short leaves an index that is empty, and says nothing wrong", async () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using index = openChunkIndex(paths, fail);
      await addTo(index, 1, 0, 1000);
      const failing = index.update(volumes, (edit) => {
        edit.add(idOf(5000), {
          container: 1,
          storedAddress: 0 as ChunkAddress,
          storedLength: 1,
          checksum: bytes(0, 32),
        });
        throw new Error("killed");
      });
      await expect(failing).rejects.toThrow("killed");
    }
    expect(existsSync(paths.stamp)).toBe(false);
    using index = openChunkIndex(paths, fail);
    expect([index.entries, index.volumes, index.containers]).toEqual([0, [], []]);
    expect(found(index, 0, 1000)).toBe(0);
  });

  test.each([
    [
      "the stamp is damaged",
      /digest does not fit/,
      (paths: GroupPaths) => {
        const stamp = readFileSync(paths.stamp);
        stamp[20] = (stamp[20] ?? 0) ^ 1;
        writeFileSync(paths.stamp, stamp);
      },
    ],
    ["the table is shorter", /its length/, (paths: GroupPaths) => truncateSync(paths.table, pageBytes)],
    [
      "the table is gone",
      /table: it is not there, though its stamp is/,
      (paths: GroupPaths) => rmSync(paths.table),
    ],
    ["it was forgotten", undefined, (paths: GroupPaths) => dropChunkIndex(paths)],
  ] as const)("%s: it is empty, and can be filled again", async (_, why, spoil) => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using index = openChunkIndex(paths, fail);
      await addTo(index, 1, 0, 1000);
    }
    spoil(paths);
    const said: string[] = [];
    {
      using index = openChunkIndex(paths, (message) => said.push(message));
      expect(index.volumes).toEqual([]);
      expect(found(index, 0, 1000)).toBe(0);
      await addTo(index, 1, 0, 500);
    }
    if (why === undefined) expect(said).toEqual([]);
    else expect(said.join()).toMatch(why);
    using index = openChunkIndex(paths, fail);
    expect(found(index, 0, 1000)).toBe(500);
  });
});
