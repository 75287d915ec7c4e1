// The map on disk against the merge of manifests side by side: the same differences, the same map root.

import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { volumeMap } from "../../../dom0-agent/prune/volume-map.ts";
import { chunkCount, type ManifestEntry } from "../../../protocol/archive/manifest.ts";
import { mapRootBuilder } from "../../../protocol/archive/map-root.ts";
import { mergeManifests } from "../../../protocol/archive/merge.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkAddress, ChunkId } from "../../../protocol/archive/types.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const digest = sha256(new Uint8Array(1));
const idOf = (value: number): ChunkId => sha256(Uint8Array.of(value)) as Uint8Array as ChunkId;

/** Entries for a volume of so many chunks: each value a chunk (0 a hole), or nothing said. */
function entriesOf(values: readonly (number | undefined)[]): ManifestEntry[] {
  return values.flatMap((value, i): ManifestEntry[] => {
    const address = (i * chunkSize) as ChunkAddress;
    if (value === undefined) return [];
    if (value === 0) return [{ kind: "hole", address, run: 1 }];
    const storedAddress = (value * chunkSize) as ChunkAddress;
    const of = { id: idOf(value), storedAddress, storedLength: value, checksum: digest };
    return [{ kind: "chunk", address, run: 1, container: 0, ...of }];
  });
}

/** A session: its size in chunks, and what its manifest says; growth names all that is new (F23). */
const session = fc.array(fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }), {
  minLength: 1,
  maxLength: 40,
});

/** One text for each chunk that differs. */
function flat(entries: Iterable<ManifestEntry>): string[] {
  return [...entries].flatMap((entry) =>
    Array.from({ length: entry.run }, (_, i) => {
      const content =
        entry.kind === "hole" ? "hole" : `${toHex(entry.id)} ${entry.storedAddress} ${entry.storedLength}`;
      return `${entry.address / chunkSize + i} ${content}`;
    }),
  );
}

test("differences and map roots are those that merging gives", () => {
  fc.assert(
    fc.property(fc.array(session, { minLength: 1, maxLength: 5 }), (raw) => {
      using directory = tempDir();
      const sessions = raw.map((values, i) => {
        const before = i === 0 ? values.length : (raw[i - 1]?.length ?? 0);
        return values.map((value, at) => (at >= before ? (value ?? 0) : value));
      });
      const most = Math.max(...sessions.map((each) => each.length)) * chunkSize;
      using map = volumeMap(join(directory.path, "map"), chunkSize, most);
      for (const [i, values] of sessions.entries()) {
        const size = values.length * chunkSize;
        map.resize(size);
        for (const entry of entriesOf(values)) map.apply(entry, 0);
        const newestFirst = sessions.slice(0, i + 1).reverse();
        const sources = newestFirst.map((each) => {
          const entries = entriesOf(each);
          return { next: () => entries.shift() };
        });
        const root = mapRootBuilder(size, chunkSize);
        const merged: ManifestEntry[] = [];
        for (const { entry, address, run } of mergeManifests(sources, size, chunkSize)) {
          root.add(entry?.kind === "chunk" ? entry.id : undefined, run);
          if (entry !== undefined) merged.push({ ...entry, address, run });
        }
        expect(toHex(map.root())).toBe(toHex(root.root()));
        expect(flat(map.changes())).toEqual(flat(merged));
      }
      map.settle();
      expect([...map.changes()]).toEqual([]);
    }),
  );
});

test("equal chunks and holes side by side come as one, over the edges of blocks", () => {
  using directory = tempDir();
  const size = 5000 * chunkSize - 100;
  using map = volumeMap(join(directory.path, "map"), chunkSize, size);
  map.resize(size);
  const [chunk] = entriesOf([2]);
  if (chunk?.kind !== "chunk") throw new Error("a chunk");
  map.apply({ ...chunk, address: (10 * chunkSize) as ChunkAddress, run: 3000 }, 7);
  map.apply({ kind: "hole", address: (3010 * chunkSize) as ChunkAddress, run: 1990 }, 0);
  expect([...map.changes()].map(({ kind, address, run }) => [kind, address / chunkSize, run])).toEqual([
    ["chunk", 10, 3000],
    ["hole", 3010, 1990],
  ]);
  const root = mapRootBuilder(size, chunkSize);
  root.add(undefined, 10);
  root.add(chunk.id, 3000);
  root.add(undefined, chunkCount(size, chunkSize) - 3010);
  expect(toHex(map.root())).toBe(toHex(root.root()));
});
