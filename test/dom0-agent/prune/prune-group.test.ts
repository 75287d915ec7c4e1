// Removing sessions, against real archive files and a model that is as plain as can be: random histories with chunks
// shared across volumes; what stays restores to what it was, and exactly the chunks that it needs are left.

import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { oldHeads } from "../../../dom0-agent/prune/old-heads.ts";
import { measureGroup, pruneGroup } from "../../../dom0-agent/prune/prune-group.ts";
import { readView } from "../../../dom0-agent/archive/archive-view.ts";
import { toHex } from "../../../protocol/bytes.ts";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { readNaively } from "../../support/naive-archive.ts";
import { type OpenedTestArchive, openTestArchive } from "../../support/open-test-archive.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const { signal } = new AbortController();

/** An image of chunks that are all one byte; 0 is a hole. `tail` bytes are missing from the last one. */
function imageOf(values: readonly number[], tail = 0): Uint8Array {
  const image = new Uint8Array(values.length * chunkSize);
  for (const [i, value] of values.entries()) image.fill(value, i * chunkSize, (i + 1) * chunkSize);
  return image.subarray(0, image.length - tail);
}

const digestOf = (image: Uint8Array): string => createHash("sha256").update(image).digest("hex");

interface Prune {
  readonly archive: TestArchive;
  readonly opened: OpenedTestArchive;
  readonly scratch: string;
  readonly maxRuns?: number;
}

/** Removes sessions by uid from all volumes of the archive, which are one group where they share chunks. */
async function remove(on: Prune, removed: ReadonlySet<string>): Promise<{ measured: number; freed: number }> {
  const { open } = on.opened;
  const view = await readView(open);
  const groups = new Map(view.map((each) => [toHex(each.index.group), [] as (typeof view)[number][]]));
  for (const each of view) groups.get(toHex(each.index.group))?.push(each);
  let measured = 0;
  let freed = 0;
  for (const volumes of groups.values()) {
    const touched = volumes.some(({ index }) => index.sessions.some((each) => removed.has(toHex(each.uid))));
    if (!touched) continue;
    const options = { open, volumes, removed, scratch: on.scratch, signal };
    for (const each of (await measureGroup(options)).values()) measured += each.bytes;
    const older = await oldHeads(open);
    const maxRuns = on.maxRuns === undefined ? {} : { maxRuns: on.maxRuns };
    const done = await pruneGroup({ ...options, note: { what: "prune" }, older, ...maxRuns });
    for (const each of done.values()) freed += each.bytes;
  }
  return { measured, freed };
}

const history = fc.record({
  shared: fc.boolean(),
  maxRuns: fc.constantFrom(undefined, 1, 2),
  sends: fc.array(
    fc.record({
      volume: fc.constantFrom("a", "b", "c"),
      values: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 10 }),
      tail: fc.constantFrom(0, 1000),
    }),
    { minLength: 2, maxLength: 12 },
  ),
  /** For each round: a chance for each session, whether the last of a volume may go as well (delete). */
  rounds: fc.array(
    fc.record({
      picks: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
      deletes: fc.constantFrom("", "", "a", "b"),
    }),
    {
      minLength: 1,
      maxLength: 3,
    },
  ),
});

test(
  "whatever is removed, the rest restores, and the chunks that are left are those it needs",
  { timeout: 120_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(history, async ({ shared, maxRuns, sends, rounds }) => {
        using directory = tempDir();
        const archive = createTestArchive(join(directory.path, "archive"), { chunkSize, shared });
        const images = new Map<string, string>();
        for (const { volume, values, tail } of sends) {
          const image = imageOf(values, tail);
          const session = archive.send({ [volume]: image })[volume];
          if (session !== undefined) images.set(toHex(session.uid), digestOf(image));
        }
        const opened = openTestArchive(archive, join(directory.path, "state"));
        const on = {
          archive,
          opened,
          scratch: join(directory.path, "scratch"),
          ...(maxRuns === undefined ? {} : { maxRuns }),
        };
        for (const { picks, deletes } of rounds) {
          const before = readNaively(archive.path);
          const newest = new Set(
            before.indexes.flatMap((each) => toHex(each.sessions.at(-1)?.uid ?? new Uint8Array(0))),
          );
          const removed = new Set(
            before.sessions
              .filter(({ uid, volume }, i) => volume === deletes || (picks[i] === true && !newest.has(uid)))
              .map((each) => each.uid),
          );
          const { measured, freed } = await remove(on, removed);
          expect(freed).toBe(measured);
          const after = readNaively(archive.path);
          const kept = before.sessions.filter((each) => !removed.has(each.uid));
          expect(after.sessions.map((each) => each.uid)).toEqual(kept.map((each) => each.uid));
          for (const each of after.sessions) expect(each.image).toBe(images.get(each.uid));
          // The model: the chunks that the sessions that stay consisted of, by the manifests as they were.
          if (removed.size > 0 && shared) {
            const living = new Set(kept.flatMap((each) => [...each.files]));
            expect([...after.stored].sort()).toEqual([...living].sort());
            expect([...after.listed].sort()).toEqual([...living].sort());
          }
          expect(after.listed).toEqual(after.stored);
        }
      }),
      { numRuns: Number(process.env["SPARSEBAK_PRUNE_RUNS"] ?? 12) },
    );
  },
);

describe("one archive", () => {
  const made = (path: string): { archive: TestArchive; uids: readonly string[] } => {
    const archive = createTestArchive(join(path, "archive"), { chunkSize });
    const uids = [
      [1, 2, 3, 4],
      [1, 2, 5, 4],
      [1, 2, 6, 0],
      [1, 7, 6, 0],
    ].map((values) => toHex(archive.send({ a: imageOf(values) })["a"]?.uid ?? new Uint8Array(0)));
    return { archive, uids };
  };

  test("a pruned session that holds living chunks stays as a container without a session", async () => {
    using directory = tempDir();
    const { archive, uids } = made(directory.path);
    const opened = openTestArchive(archive, join(directory.path, "state"));
    const on = { archive, opened, scratch: join(directory.path, "scratch") };
    const { freed } = await remove(on, new Set([uids[0] ?? "", uids[1] ?? ""]));
    expect(freed).toBeGreaterThan(0);
    const [index] = readNaively(archive.path).indexes;
    expect(index?.sessions.length).toBe(2);
    // Chunks 1 and 2 of the first session live on; all of the second one's is dead.
    expect(index?.containers.map((each) => [each.chunks, each.manifestGeneration])).toEqual([
      [2, 0],
      [1, 5],
      [1, 4],
    ]);
    expect(opened.dead[0]?.volumes[0]?.containers.map((each) => each.whole)).toEqual([false, true, false]);
  });

  test("old heads and the indexes that only they name go with it, the newest few stay", async () => {
    using directory = tempDir();
    const { archive, uids } = made(directory.path);
    // The writer's heads carry codes that nobody can check; they go all the same.
    const opened = openTestArchive(archive, join(directory.path, "state"));
    const on = { archive, opened, scratch: join(directory.path, "scratch") };
    await remove(on, new Set([uids[0] ?? ""]));
    expect(readdirSync(join(archive.path, "heads")).sort()).toEqual(["3", "4", "5"]);
  });

  test("manifests that don't lead to the map root stop everything before it begins", async () => {
    using directory = tempDir();
    const archive = createTestArchive(join(directory.path, "archive"), { chunkSize });
    archive.send({ a: imageOf([1, 2]) });
    const lied = archive.send({ a: imageOf([3, 4]) }, { alterEntries: (entries) => entries.slice(1) })["a"];
    archive.send({ a: imageOf([3, 5]) });
    const opened = openTestArchive(archive, join(directory.path, "state"));
    const on = { archive, opened, scratch: join(directory.path, "scratch") };
    await expect(remove(on, new Set([toHex(lied?.uid ?? new Uint8Array(0))]))).rejects.toThrow(
      /do not make its map root/,
    );
    expect(readdirSync(join(archive.path, "heads")).length).toBe(3);
  });
});
