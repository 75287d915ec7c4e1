// Every byte of a small sealed archive changed, every two files of a kind and some of different kinds exchanged, every file
// removed, every file, volume and the whole of it put back to what it was before: check notices (docs/security.md, S24).
// Where a single byte is changed, what is run is the part of `check --read-data` that reads that file; for one byte of
// several kinds of place the whole command is run as well, and spbk-assemble --scrub, which has no key.

import { spawnSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentError } from "../../../dom0-agent/errors.ts";
import type { OpenArchive } from "../../../dom0-agent/archive/archive.ts";
import { checkArchive } from "../../../dom0-agent/session/check.ts";
import { look, openNow, type Seen } from "../../support/archive-look.ts";
import { type Place, placesOf } from "../../support/archive-places.ts";
import {
  makeSealedSample,
  sampleVolumes,
  type SealedSample,
  type Tree,
  withChanges,
} from "../../support/sealed-sample.ts";

/** Every byte, every two files, and the whole command for every kind of place. */
const everything = process.env["SPARSEBAK_EVERY_BYTE"] === "1";
/** Of what the receiver alone reads, each so many'th byte is changed: it reads much for each. */
const strides = { dom0: 1, container: 11, rest: 29 } as const;
/** Kinds of places for which the whole command is run. */
const wholeRuns = new Set(["index", "manifest", "chunk, in a tar", "padding of a tar", "README.txt"]);
/** What may be gone (docs/security.md): `lock` is made by whoever needs it, `trash` is the receiver's own note, and of what
 *  waits to be removed a part may have been. */
function mayBeGone(file: string): boolean {
  return (
    file === "lock" ||
    file === "trash" ||
    places.some((each) => each.file === file && each.what.startsWith("old "))
  );
}

let sample: SealedSample;
let open: OpenArchive & Disposable;
let now: Tree;
let before: Seen;
let places: readonly Place[];

beforeAll(async () => {
  sample = await makeSealedSample();
  now = sample.copies.at(-1) ?? new Map();
  open = await openNow(sample);
  before = await look(sample);
  places = await placesOf(sample, open, now);
}, 120_000);

afterAll(() => {
  open?.[Symbol.dispose]();
  sample?.[Symbol.dispose]();
});

/** What a reader gives, or that it has found damage. */
async function outcome(read: () => Promise<unknown>): Promise<unknown> {
  try {
    return { gives: await read() };
  } catch (error) {
    if (error instanceof AgentError && error.reason === "integrity") return "damaged";
    throw error;
  }
}

/** What check makes of the archive with these changes: damage, or more that it says, or nothing. */
async function noticed(
  changes: ReadonlyMap<string, Uint8Array | undefined>,
): Promise<"damage" | "said" | "nothing"> {
  const seen = await withChanges(sample.root, now, changes, async () => look(sample));
  if (seen.damage.length > 0) return "damage";
  expect(seen.content).toBe(before.content);
  return seen.said.join() === before.said.join() ? "nothing" : "said";
}

test("the archive has everything that is to be changed, and nothing is damaged", () => {
  expect(before.damage).toEqual([]);
  expect(new Set(places.map(({ what }) => what))).toEqual(
    new Set([
      "head",
      "archive",
      "index",
      "copy of head",
      "copy of index",
      "header",
      "manifest",
      "list",
      "chunk",
      "manifest, in a tar",
      "header, in a tar",
      "list, in a tar",
      "chunk, in a tar",
      "offsets of a tar, in a tar",
      "length of a tar's chunk",
      "header of a tar's member",
      "padding of a tar",
      "end of a tar",
      "superseded or dead in a tar",
      "old heads",
      "old archive",
      "old index",
      "old header",
      "old manifest",
      "old list",
      "old chunk",
      "old tar",
      "old dead",
      "README.txt",
      "trash",
      "lock",
    ]),
  );
  // Every byte of every file once.
  for (const [file, { length }] of now) {
    const own = places.filter((each) => each.file === file);
    expect(
      own.reduce((sum, { from, to }) => sum + to - from, 0),
      file,
    ).toBe(length);
  }
});

test("a change of any byte is noticed by what reads it", async () => {
  const wrong: string[] = [];
  let count = 0;
  for (const { file, from, to, what, by, read } of places) {
    const bytes = now.get(file) ?? Buffer.alloc(0);
    const right = JSON.stringify(await outcome(read));
    expect(right, `${file} at ${from}`).toContain("{");
    const fd = openSync(join(sample.root, file), "r+");
    try {
      const step = everything ? 1 : strides[by];
      for (let at = from + (from % step); at < to; at += step) {
        count++;
        writeSync(fd, Uint8Array.of((bytes[at] ?? 0) ^ (1 << ((at * 5) % 8))), 0, 1, at);
        const is = JSON.stringify(await outcome(read));
        writeSync(fd, bytes, at, 1, at);
        if (is !== '"damaged"') wrong.push(`${file} at ${at}, ${what}: ${is}`);
      }
    } finally {
      closeSync(fd);
    }
  }
  expect(wrong).toEqual([]);
  expect(count).toBeGreaterThan(everything ? 50_000 : 10_000);
  expect(await look(sample)).toEqual(before);
}, 600_000);

test("check --read-data says so, for a byte of every kind of place", async () => {
  const kinds = new Map(places.filter((each) => each.to > each.from).map((each) => [each.what, each]));
  for (const { file, from, to, what } of kinds.values()) {
    const bytes = Buffer.from(now.get(file) ?? []);
    const at = Math.floor((from + to) / 2);
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    await withChanges(sample.root, now, new Map([[file, bytes]]), async () => {
      expect((await look(sample)).damage, `${file} at ${at}, ${what}`).not.toEqual([]);
      if (everything || wholeRuns.has(what))
        expect(await checked(), `${file} at ${at}, ${what}`).toBe("integrity");
    });
  }
}, 120_000);

test("spbk-assemble --scrub says so without a key, in words that the drive shows anyway", async () => {
  const kinds = new Map(places.map((each) => [each.what, each]));
  // These hide others: what lies below them can't be told any more.
  for (const kind of ["head", "index", "old dead", "offsets of a tar, in a tar", "end of a tar"])
    kinds.delete(kind);
  const changes = new Map<string, Buffer>();
  for (const { file, from, to } of kinds.values()) {
    const bytes = changes.get(file) ?? Buffer.from(now.get(file) ?? []);
    bytes[Math.floor((from + to) / 2)] = (bytes[Math.floor((from + to) / 2)] ?? 0) ^ 4;
    if (to > from) changes.set(file, bytes);
  }
  changes.set("lock", Buffer.from("x"));
  // Of a volume that is there; of one that was deleted it would be taken for what waits.
  const volume = dirname(places.find(({ what }) => what === "index")?.file ?? "");
  changes.set(`${volume}/index.3`, Buffer.from("nothing names it"));
  await withChanges(sample.root, now, changes, async () => {
    for (const extra of [[], ["--json"]]) {
      const { status, stdout, stderr } = scrub(...extra);
      expect(status, stderr).toBe(5);
      for (const file of changes.keys()) {
        // What lies in a container, or beside a tar, is said by its name.
        const [, place = ""] = /^([^/]+(?:[/][^/]+)?)/.exec(file) ?? [];
        expect(stdout, file).toContain(place.replace(/[.]tar[.].*/, ".tar"));
      }
      for (const secret of [...sampleVolumes, "three.img", ...sampleVolumes.map((each) => toBase64(each))])
        expect(stdout + stderr).not.toContain(secret);
    }
  });
  const clean = scrub();
  expect(clean.status, clean.stdout).toBe(0);
  expect(clean.stdout).toMatch(/everything is in order; 3 remarks above\n$/);
}, 120_000);

function toBase64(text: string): string {
  return Buffer.from(text).toString("base64").replace(/=+$/, "");
}

function scrub(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const program = fileURLToPath(new URL("../../../vm-receiver/assemble/cli.ts", import.meta.url));
  return spawnSync(process.execPath, [program, "--scrub", sample.root, ...args], { encoding: "utf8" });
}

async function checked(): Promise<string> {
  try {
    return (await checkArchive(sample.context, sample.settings, { readData: true })).reason;
  } catch (error) {
    return error instanceof AgentError ? error.reason : String(error);
  }
}

test("an exchange of any two files of a kind is noticed, and of files of two kinds", async () => {
  const kinds = new Map<string, string[]>();
  for (const file of now.keys()) kinds.set(kindOf(file), [...(kinds.get(kindOf(file)) ?? []), file]);
  let count = 0;
  let sameLength = 0;
  const exchange = async (one: string, other: string): Promise<void> => {
    const [first, second] = [now.get(one), now.get(other)];
    if (first === undefined || second === undefined || first.equals(second)) return;
    const changes = new Map([
      [one, second],
      [other, first],
    ]);
    expect(await noticed(changes), `${one} and ${other}`).toBe("damage");
    count++;
    if (first.length === second.length) sameLength++;
  };
  const lists = [...kinds.values()];
  for (const [i, files] of lists.entries()) {
    for (const [k, one] of files.entries())
      for (const other of files.slice(k + 1)) await exchange(one, other);
    for (const others of lists.slice(i + 1)) {
      // The first of the one with the last of the other; or each with each.
      const [some, more] = everything ? [files, others] : [files.slice(0, 1), others.slice(-1)];
      for (const one of some) for (const other of more) await exchange(one, other);
    }
  }
  expect(count).toBeGreaterThan(200);
  expect(sameLength).toBeGreaterThan(20);
}, 600_000);

test("a file that is gone is noticed", async () => {
  let count = 0;
  for (const file of now.keys()) {
    const is = await noticed(new Map([[file, undefined]]));
    const isSpare = file === "README.txt" || file.startsWith("copies/");
    if (!mayBeGone(file)) expect(is, file).toBe(isSpare ? "said" : "damage");
    if (is !== "nothing") count++;
  }
  expect(count).toBeGreaterThan(30);
}, 120_000);

/** Files of a kind could be taken for each other. */
function kindOf(file: string): string {
  if (dirname(file) === "heads") return "head";
  if (file.endsWith(".tar")) return "tar";
  if (/^x[0-9a-f]{16}$/.test(basename(file))) return "chunk";
  if (dirname(file) === "dead") return "dead";
  return /(archive|index|manifest|list|header)(?:\.\d+)?$/.exec(file)?.[1] ?? file;
}

test("a return of one file, one volume or all of it to an older copy is noticed", async () => {
  let count = 0;
  const volumes = new Set([...now.keys()].flatMap((file) => /^[0-9a-f]{32}(?=\/)/.exec(file) ?? []));
  const tried = new Set<string>();
  const returnTo = async (older: Tree, files: readonly string[], what: string): Promise<void> => {
    const differing = files.filter((file) => !same(older.get(file), now.get(file)));
    const changes = new Map(differing.map((file) => [file, older.get(file)]));
    const key = [...changes].map(([file, bytes]) => `${file} ${bytes?.toString("base64")}`).join();
    if (changes.size === 0 || tried.has(key)) return;
    tried.add(key);
    const is = await noticed(changes);
    const isGone = [...changes].every(([file, bytes]) =>
      bytes === undefined ? mayBeGone(file) : isUnpunched(bytes, now.get(file)),
    );
    if (!isGone) expect(is, what).not.toBe("nothing");
    count++;
  };
  for (const [i, older] of sample.copies.slice(0, -1).entries()) {
    const all = [...new Set([...older.keys(), ...now.keys()])];
    await returnTo(older, all, `all of it to step ${i}`);
    for (const volume of volumes)
      await returnTo(
        older,
        all.filter((file) => file.startsWith(volume)),
        `${volume} to step ${i}`,
      );
    for (const file of all) await returnTo(older, [file], `${file} to step ${i}`);
    // Under the name that counts now, too: files that are written anew have another one each time.
    if (!everything && i % 4 !== 3) continue;
    for (const file of now.keys()) {
      for (const [other, bytes] of older) {
        if (dirname(other) !== dirname(file) || kindOf(other) !== kindOf(file) || other === file) continue;
        if (kindOf(file) !== "chunk") await returnTo(new Map([[file, bytes]]), [file], `${file} as ${other}`);
      }
    }
  }
  expect(count).toBeGreaterThan(100);
}, 600_000);

/** What a prune gave back of a tar reads as zeros, and where the file system can't do that it stays: both are right. */
function isUnpunched(older: Buffer, is: Buffer | undefined): boolean {
  if (is?.length !== older.length) return false;
  const differing = [...older.keys()].filter((at) => is[at] !== older[at]);
  return differing.length > 4096 && differing.every((at) => is[at] === 0);
}

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}
