import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dropIdMap, type IdMap, type MapChange, openIdMap } from "../../../dom0-agent/state/id-map.ts";
import { stateLayout, type VolumePaths } from "../../../dom0-agent/state/layout.ts";
import { makeDirectory } from "../../../dom0-agent/state/writing.ts";
import { DamagedStateError, writeRecord } from "../../../dom0-agent/state/record.ts";
import { groupChunks, mapRootBuilder } from "../../../protocol/archive/map-root.ts";
import { chunkCount } from "../../../protocol/archive/manifest.ts";
import type { SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;

function pathsIn(directory: string): VolumePaths {
  const paths = stateLayout(directory)
    .archive("a")
    .volume(new Uint8Array(16) as VolumeId);
  makeDirectory(paths.directory);
  return paths;
}

function idOf(n: number): Uint8Array {
  return new Uint8Array(32).fill(1 + (n % 255));
}

/** The whole map as an array, and its root by the builder: an independent way to the same digest. */
function rootOf(model: readonly number[], size: number): Uint8Array {
  const builder = mapRootBuilder(size, chunkSize);
  for (const each of model) builder.add(each === 0 ? undefined : idOf(each), 1);
  return builder.root();
}

function commit(map: IdMap, changes: readonly MapChange[], size: number, sequence: number): Uint8Array {
  const { groups, mapRoot } = map.after(changes, size, chunkSize);
  const session = new Uint8Array(16).fill(sequence) as SessionUid;
  map.apply(changes, groups, { session, sequence, size, chunkSize, mapRoot });
  return mapRoot;
}

const resize = fc.integer({ min: 1, max: groupChunks * 2 + 7 });
const edits = fc.array(fc.tuple(fc.nat(groupChunks * 2), fc.integer({ min: 1, max: 300 }), fc.nat(9)), {
  maxLength: 6,
});

describe("id map", () => {
  test("of chunks that none can be is damaged", () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using map = openIdMap(paths);
      commit(map, [], 65_536, 1);
    }
    const stamp = JSON.parse(readFileSync(paths.stamp, "utf8").split("\n")[0] ?? "") as object;
    for (const odd of [0, 65_537, 2 ** 33]) {
      writeRecord(paths.stamp, { ...stamp, chunkSize: odd });
      expect(() => openIdMap(paths)).toThrow(DamagedStateError);
    }
  });

  test("has the map root of the whole map after any changes, growth and shrinking", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(resize, edits), { minLength: 1, maxLength: 4 }), (steps) => {
        using directory = tempDir();
        const paths = pathsIn(directory.path);
        let model: number[] = [];
        let sequence = 0;
        for (const [chunks, list] of steps) {
          const size = chunks * chunkSize - 5;
          expect(chunkCount(size, chunkSize)).toBe(chunks);
          const next = Array.from({ length: chunks }, (_, i) => model[i] ?? 0);
          const changes: MapChange[] = [];
          let at = 0;
          for (const [start, count, value] of [...list].sort((a, b) => a[0] - b[0])) {
            const from = Math.max(at, start);
            const to = Math.min(from + count, chunks);
            if (from >= to) continue;
            changes.push({ start: from, count: to - from, id: value === 0 ? undefined : idOf(value) });
            next.fill(value, from, to);
            at = to;
          }
          using map = openIdMap(paths);
          expect(commit(map, changes, size, ++sequence)).toEqual(rootOf(next, size));
          model = next;
        }
        using again = openIdMap(paths);
        expect(again.stamp?.sequence).toBe(sequence);
        expect(again.chunks).toBe(model.length);
        for (let i = 0; i < model.length; i += 97) {
          const value = model[i] ?? 0;
          expect(again.read(i, 1)).toEqual(value === 0 ? new Uint8Array(32) : idOf(value));
        }
      }),
      { numRuns: 25 },
    );
  });

  test("a change that was cut short leaves an empty map, not a wrong one", () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using map = openIdMap(paths);
      commit(map, [{ start: 0, count: 3, id: idOf(1) }], 5 * chunkSize, 1);
      const { groups, mapRoot } = map.after([{ start: 1, count: 1, id: idOf(2) }], 5 * chunkSize, chunkSize);
      const stamp = {
        session: new Uint8Array(16) as SessionUid,
        sequence: 2,
        size: 5 * chunkSize,
        chunkSize,
        mapRoot,
      };
      const breaking = (function* (): Generator<MapChange> {
        yield { start: 1, count: 1, id: idOf(2) };
        throw new Error("killed");
      })();
      expect(() => map.apply(breaking, groups, stamp)).toThrow("killed");
    }
    using again = openIdMap(paths);
    expect(again.stamp).toBeUndefined();
    expect(again.chunks).toBe(0);
  });

  test("rot in the ids is noticed before anything is built on them", () => {
    using directory = tempDir();
    const paths = pathsIn(directory.path);
    {
      using map = openIdMap(paths);
      commit(map, [{ start: 0, count: 100, id: idOf(1) }], 100 * chunkSize, 1);
    }
    const fd = openSync(paths.ids, "r+");
    writeSync(fd, Uint8Array.of(0xee), 0, 1, 50 * 32);
    closeSync(fd);
    using map = openIdMap(paths);
    expect(() => map.after([{ start: 3, count: 1, id: idOf(2) }], 100 * chunkSize, chunkSize)).toThrow(
      DamagedStateError,
    );
  });

  test.each(["groups", "ids", "stamp"] as const)(
    "a damaged file %s is noticed when the map is opened",
    (name) => {
      using directory = tempDir();
      const paths = pathsIn(directory.path);
      {
        using map = openIdMap(paths);
        commit(map, [{ start: 0, count: 100, id: idOf(1) }], 100 * chunkSize, 1);
      }
      if (name === "ids") truncateSync(paths.ids, 31);
      else {
        const bytes = readFileSync(paths[name]);
        bytes[3] = (bytes[3] ?? 0) ^ 1;
        writeFileSync(paths[name], bytes);
      }
      expect(() => openIdMap(paths)).toThrow(DamagedStateError);
      dropIdMap(paths);
      using empty = openIdMap(paths);
      expect(empty.chunks).toBe(0);
    },
  );
});
