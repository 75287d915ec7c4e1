// Every byte of a small sealed archive changed, every two files of a kind exchanged, every file, volume and the whole of
// it put back to what it was before: check notices, or what was changed is nothing that anybody reads, by one of the
// rules of test/support/archive-places.ts (docs/security.md, S24). Where a single byte is changed, what is run is the part
// of `check --read-data` that reads that file; for one byte of every kind of place the whole command is run as well.

import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentError } from "../../../dom0-agent/errors.ts";
import type { OpenArchive } from "../../../dom0-agent/session/archive.ts";
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

/** Also every byte that nobody reads, and the whole command for every kind of place. */
const everything = process.env["SPARSEBAK_EVERY_BYTE"] === "1";
/** Of what nobody reads each so many'th byte is changed by itself; all of it at once is too. */
const stride = 7;
/** Kinds of places for which the whole command is run. */
const wholeRuns = new Set(["index", "header", "manifest", "chunk, in a tar"]);

let sample: SealedSample;
let open: OpenArchive & Disposable;
let now: Tree;
let before: Seen;
let places: readonly Place[];
/** Files that nobody reads, as a whole. */
let unread: ReadonlySet<string>;

beforeAll(async () => {
  sample = await makeSealedSample();
  now = sample.copies.at(-1) ?? new Map();
  open = await openNow(sample);
  before = await look(sample);
  places = await placesOf(sample, open, now);
  const named = new Set(places.filter((each) => !each.unread).map(({ file }) => file));
  unread = new Set([...now.keys()].filter((file) => !named.has(file)));
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

/** Notices, or only what nobody reads has changed, and every session is what it was. */
async function expectNoticed(
  changes: ReadonlyMap<string, Uint8Array | undefined>,
  what: string,
): Promise<boolean> {
  const seen = await withChanges(sample.root, now, changes, async () => look(sample));
  if (seen.damage.length > 0) return true;
  // A second copy that is gone is said, and is no damage.
  const isGoneCopy = (file: string): boolean => file.startsWith("copies/") && changes.get(file) === undefined;
  const read = [...changes.keys()].filter((file) => now.has(file) && !unread.has(file) && !isGoneCopy(file));
  expect(read, `${what}: not noticed`).toEqual([]);
  expect(seen.content, what).toBe(before.content);
  return false;
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
      "unnamed file",
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
    ]),
  );
  // Every byte of every file once, and what lies unread in files of their own is of these kinds.
  for (const [file, { length }] of now) {
    const own = places.filter((each) => each.file === file);
    expect(
      own.reduce((sum, { from, to }) => sum + to - from, 0),
      file,
    ).toBe(length);
  }
  const volume = "[0-9a-f]{32}";
  const session = "S_\\d{8}-\\d{6}";
  const rules = [
    /^(?:README\.txt|lock|trash)$/,
    /^heads\/\d+$/,
    new RegExp(`^${volume}/archive(?:\\.\\d+)?$`),
    new RegExp(`^${volume}/index\\.\\d+$`),
    new RegExp(`^${volume}/${session}/(?:header|(?:list|manifest)(?:\\.\\d+)?)$`),
  ];
  expect([...unread].filter((file) => !rules.some((rule) => rule.test(file)))).toEqual([]);
});

test("a change of any byte is noticed by what reads it", async () => {
  const wrong: string[] = [];
  let count = 0;
  for (const { file, from, to, what, unread: isUnread, read } of places) {
    const bytes = now.get(file) ?? Buffer.alloc(0);
    const right = JSON.stringify(await outcome(read));
    expect(right, `${file} at ${from}`).toContain("{");
    const fd = openSync(join(sample.root, file), "r+");
    try {
      const step = isUnread && !everything ? stride : 1;
      for (let at = from + (from % step); at < to; at += step) {
        count++;
        writeSync(fd, Uint8Array.of((bytes[at] ?? 0) ^ (1 << ((at * 5) % 8))), 0, 1, at);
        const is = JSON.stringify(await outcome(read));
        writeSync(fd, bytes, at, 1, at);
        if (is !== (isUnread ? right : '"damaged"')) wrong.push(`${file} at ${at}, ${what}: ${is}`);
      }
    } finally {
      closeSync(fd);
    }
  }
  expect(wrong).toEqual([]);
  expect(count).toBeGreaterThan(10_000);
  expect(await look(sample)).toEqual(before);
}, 120_000);

test("check --read-data says so, for a byte of every kind of place", async () => {
  const kinds = new Map(places.filter((each) => !each.unread).map((each) => [each.what, each]));
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

test("what nobody reads can all be changed at once, and check and spbk-assemble give the same", async () => {
  const changes = new Map<string, Buffer>();
  for (const { file, from, to } of places.filter((each) => each.unread)) {
    const bytes = changes.get(file) ?? Buffer.from(now.get(file) ?? []);
    for (let at = from; at < to; at++) bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    changes.set(file, bytes);
  }
  // The trash time is read by whoever prunes, and wants to be one.
  changes.delete("trash");
  await withChanges(sample.root, now, changes, async () => {
    expect(await look(sample)).toEqual(before);
    expect(await checked()).toBe("done");
    for (const volume of sampleVolumes)
      expect(assembled(volume).equals(readFileSync(sample.image(volume))), volume).toBe(true);
  });
}, 120_000);

async function checked(): Promise<string> {
  try {
    return (await checkArchive(sample.context, sample.settings, { readData: true })).reason;
  } catch (error) {
    return error instanceof AgentError ? error.reason : String(error);
  }
}

function assembled(volume: string): Buffer {
  const program = fileURLToPath(new URL("../../../vm-receiver/assemble/cli.ts", import.meta.url));
  const at = (name: string): string => join(sample.directory, name);
  writeFileSync(at("passphrase"), `${sample.passphrase}\n`, { mode: 0o600 });
  const { id } = open.record.volumes.find(({ name }) => name === volume) ?? {};
  const directory = join(sample.root, Buffer.from(id ?? []).toString("hex"));
  const args = [directory, "--passphrase-file", at("passphrase"), "-o", at(`${volume}.out`)];
  const ran = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  return readFileSync(at(`${volume}.out`));
}

test("an exchange of any two files of a kind is noticed", async () => {
  const kinds = new Map<string, string[]>();
  for (const file of now.keys()) kinds.set(kindOf(file), [...(kinds.get(kindOf(file)) ?? []), file]);
  let noticed = 0;
  let sameLength = 0;
  for (const files of kinds.values()) {
    for (const [i, one] of files.entries()) {
      for (const other of files.slice(i + 1)) {
        const [first, second] = [now.get(one), now.get(other)];
        if (first === undefined || second === undefined || first.equals(second)) continue;
        const changes = new Map([
          [one, second],
          [other, first],
        ]);
        if (!(await expectNoticed(changes, `${one} and ${other}`))) continue;
        noticed++;
        if (first.length === second.length) sameLength++;
      }
    }
  }
  expect(noticed).toBeGreaterThan(50);
  expect(sameLength).toBeGreaterThan(10);
}, 120_000);

/** Files of a kind could be taken for each other. */
function kindOf(file: string): string {
  if (dirname(file) === "heads") return "head";
  if (file.endsWith(".tar")) return "tar";
  if (/^x[0-9a-f]{16}$/.test(basename(file))) return "chunk";
  return /(archive|index|manifest|list|header)(?:\.\d+)?$/.exec(file)?.[1] ?? file;
}

test("a return of one file, one volume or all of it to an older copy is noticed", async () => {
  let noticed = 0;
  const volumes = new Set([...now.keys()].flatMap((file) => /^[0-9a-f]{32}(?=\/)/.exec(file) ?? []));
  const tried = new Set<string>();
  const returnTo = async (older: Tree, files: readonly string[], what: string): Promise<void> => {
    const differing = files.filter((file) => !same(older.get(file), now.get(file)));
    const changes = new Map(differing.map((file) => [file, older.get(file)]));
    const key = [...changes].map(([file, bytes]) => `${file} ${bytes?.toString("base64")}`).join();
    if (changes.size === 0 || tried.has(key)) return;
    tried.add(key);
    if (await expectNoticed(changes, what)) noticed++;
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
    for (const file of now.keys()) {
      for (const [other, bytes] of older) {
        if (dirname(other) !== dirname(file) || kindOf(other) !== kindOf(file) || other === file) continue;
        if (kindOf(file) !== "chunk") await returnTo(new Map([[file, bytes]]), [file], `${file} as ${other}`);
      }
    }
  }
  expect(noticed).toBeGreaterThan(30);
}, 120_000);

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}
