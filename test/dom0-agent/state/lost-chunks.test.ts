import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lostPlaces } from "../../../dom0-agent/state/lost-places.ts";
import { type LostChunk, mostLost, readLost, writeLost } from "../../../dom0-agent/state/lost-chunks.ts";
import { tempDir } from "../../support/temp-dir.ts";

const bytes = (fill: number, length: number): never => new Uint8Array(length).fill(fill) as never;
const chunkOf = (n: number, session = n % 3, group = 1): LostChunk => ({
  group: bytes(group, 16),
  volume: bytes(2, 16),
  session: bytes(session, 16),
  address: (n * 65_536) as LostChunk["address"],
  id: bytes(n % 256, 32),
  length: 65_536 - (n % 2),
});
const byAddress = (a: LostChunk, b: LostChunk): number => a.address - b.address;
const noWarning = (message: string): void => expect.fail(message);

test("what is written down is read again; nothing lost is no file", () => {
  using directory = tempDir();
  const paths = { lost: join(directory.path, "lost") };
  expect(readLost(paths, noWarning)).toEqual([]);
  const chunks = Array.from({ length: 20 }, (_, n) => chunkOf(n));
  writeLost(paths, chunks);
  expect([...readLost(paths, noWarning)].sort(byAddress)).toEqual(chunks);
  writeLost(paths, []);
  expect(existsSync(paths.lost)).toBe(false);
});

test("a damaged record is said, and is none", () => {
  using directory = tempDir();
  const paths = { lost: join(directory.path, "lost") };
  writeLost(paths, [chunkOf(1)]);
  const raw = readFileSync(paths.lost);
  raw[20] = (raw[20] ?? 0) ^ 1;
  writeFileSync(paths.lost, raw);
  const warnings: string[] = [];
  expect(readLost(paths, (message) => warnings.push(message))).toEqual([]);
  expect(warnings).toEqual([expect.stringMatching(/digest does not fit.*check finds again/)]);
  expect(readLost(paths, noWarning)).toEqual([]);
});

test("so many are written down and no more", () => {
  using directory = tempDir();
  const paths = { lost: join(directory.path, "lost") };
  writeLost(
    paths,
    Array.from({ length: mostLost + 5 }, (_, n) => chunkOf(n, 1)),
  );
  const found = readLost(paths, noWarning);
  expect(found).toHaveLength(mostLost);
  expect(found.at(-1)?.address).toBe((mostLost - 1) * 65_536);
});

test("places are those of one group, told apart by container and address", () => {
  const [a, b, foreign] = [chunkOf(4, 1), chunkOf(4, 2), chunkOf(5, 1, 9)];
  const places = lostPlaces([a, b, foreign], a.group);
  expect(places.chunks).toEqual([a, b]);
  expect(places.in(a)?.get(a.address)).toBe(a);
  expect([
    places.has(a, a.address),
    places.has(a, foreign.address),
    places.has(chunkOf(0), a.address),
  ]).toEqual([true, false, false]);
});
