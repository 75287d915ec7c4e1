// The damage test: every kind of file of an archive is flipped, cut, removed and swapped, and `check` names exactly the
// sessions that this costs: those that don't assemble any more, and no others.

import {
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { type Ended, makeSite, sha256Of, type Site } from "../support/site.ts";

const size = 2 * 1024 * 1024 + 4096;
const [template, clone, work] = ["vm-debian-root", "vm-clone-root", "work.img"] as const;

/** A session of a volume, and what it assembles to. */
interface Session {
  readonly volume: string;
  readonly name: string;
  readonly digest: string;
}

interface Prepared extends AsyncDisposable {
  readonly site: Site;
  readonly sessions: readonly Session[];
  /** Where the whole archive and the state are kept. */
  readonly kept: string;
}

/** Three volumes, two of which share chunks; first sessions in directories, then some in tars, then a directory. */
async function prepare(): Promise<Prepared> {
  const site = await makeSite({
    volumes: [template, clone, work],
    local: true,
    driveBytes: 512 * 1024 ** 2,
    settings: ["chunk-size = 64K"],
  });
  const sessions: Session[] = [];
  const send = async (...args: string[]): Promise<void> => {
    const ended = await site.sparsebak(["-u", "--json", "send", ...args]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    for (const { type, volume, session } of linesOf(ended)) {
      if (type === "volume" && typeof volume === "string" && typeof session === "string")
        sessions.push({ volume, name: session, digest: sha256Of(site.image(volume)) });
    }
  };
  makeImage(site.image(template), { size, dataBytes: 1024 * 1024, seed: 30 });
  makeImage(site.image(work), { size, dataBytes: 1024 * 1024, seed: 31 });
  await send(template, work);
  copyFileSync(site.image(template), site.image(clone));
  changeImage(site.image(clone), 128 * 1024, 32, size);
  changeImage(site.image(work), 256 * 1024, 33, size);
  await send("--tarfile", clone, work);
  changeImage(site.image(template), 128 * 1024, 34, size);
  changeImage(site.image(clone), 128 * 1024, 35, size);
  changeImage(site.image(work), 128 * 1024, 36, size);
  await send(template, clone, work);
  const kept = join(site.directory, "kept");
  cpSync(site.archive, join(kept, "archive"), { recursive: true });
  cpSync(site.state, join(kept, "state"), { recursive: true });
  return { site, sessions, kept, [Symbol.asyncDispose]: async () => site[Symbol.asyncDispose]() };
}

function linesOf({ stdout }: Ended): readonly Readonly<Record<string, unknown>>[] {
  return stdout
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
}

let prepared: Prepared;
beforeAll(async () => {
  prepared = await prepare();
});
afterAll(async () => prepared[Symbol.asyncDispose]());

/** The archive and dom0's state as they were. */
function restoreSite({ site, kept }: Prepared): void {
  for (const name of readdirSync(site.archive)) rmSync(join(site.archive, name), { recursive: true });
  cpSync(join(kept, "archive"), site.archive, { recursive: true });
  rmSync(site.state, { recursive: true });
  cpSync(join(kept, "state"), site.state, { recursive: true });
}

const nameOf = ({ volume, name }: Session): string => `${volume} ${name}`;

/** The sessions that don't assemble to what they were, out of those of `sessions`. */
async function broken({ site }: Prepared, sessions: readonly Session[]): Promise<readonly string[]> {
  const ended = await Promise.all(
    sessions.map(async (each) => {
      const args = [join(site.archive, each.volume), "--session", each.name, "--verify"];
      const { code, stdout } = await site.spbkAssemble(args);
      return code === 0 && stdout.includes(each.digest) ? [] : [nameOf(each)];
    }),
  );
  return ended.flat().sort();
}

/** What `check` says that it costs. */
function named(ended: Ended, sessions: readonly Session[]): readonly string[] {
  return linesOf(ended)
    .flatMap(({ type, volume, damaged }) => {
      if (type !== "volume") return [];
      if (damaged === "all") return sessions.filter((each) => each.volume === volume).map(nameOf);
      return (damaged as string[]).map((name) => `${String(volume)} ${name}`);
    })
    .sort();
}

/** Files of the archive by what they are, of the n-th session of a volume where they belong to one. */
const first = (volume: string): string => sessionOf(volume, 0);
function sessionOf(volume: string, n: number): string {
  const name = prepared.sessions.filter((each) => each.volume === volume)[n]?.name ?? "";
  return join(prepared.site.archive, volume, name);
}

function chunksOf(session: string): readonly string[] {
  return readdirSync(session)
    .filter((name) => /^[0-9a-f]{9}$/.test(name))
    .flatMap((group) => readdirSync(join(session, group)).map((name) => join(session, group, name)))
    .sort();
}

function theOne(directory: string, pattern: RegExp): string {
  const names = readdirSync(directory).filter((name) => pattern.test(name));
  // The highest number: the one that counts.
  const [last = ""] = names.sort((a, b) => Number(b.split(".").at(-1)) - Number(a.split(".").at(-1)));
  return join(directory, last);
}

const flip = (path: string, at = 0.5): void => {
  const bytes = readFileSync(path);
  const i = Math.floor(bytes.length * at);
  bytes[i] = (bytes[i] ?? 0) ^ 0x10;
  writeFileSync(path, bytes);
};
const cut = (path: string): void => truncateSync(path, Math.floor(statSync(path).size / 2));
const remove = (path: string): void => rmSync(path);
const swap = (a: string, b: string): void => {
  renameSync(a, `${a}.swapped`);
  renameSync(b, a);
  renameSync(`${a}.swapped`, b);
};
const manners = { flipped: flip, "cut short": cut, removed: remove } as const;

const files: Readonly<Record<string, () => string>> = {
  "the index of a volume": () => theOne(join(prepared.site.archive, work), /^index\./),
  "the index of a volume that others share chunks with": () =>
    theOne(join(prepared.site.archive, template), /^index\./),
  "a header": () => join(first(work), "header"),
  "the first manifest": () => theOne(first(work), /^manifest\./),
  "the last manifest": () => theOne(sessionOf(work, 2), /^manifest\./),
  "a list": () => join(first(work), "list"),
  "a chunk": () => chunksOf(first(work))[0] ?? "",
  "a chunk that a clone shares": () => chunksOf(first(template))[2] ?? "",
  "a tar": () => `${sessionOf(work, 1)}.tar`,
};

describe.each(Object.keys(files))("%s", (what) => {
  test.each(Object.keys(manners))("%s", async (how) => {
    restoreSite(prepared);
    manners[how as keyof typeof manners](files[what]?.() ?? "");
    const { sessions, site } = prepared;
    const ended = await site.sparsebak(["--json", "check"]);
    expect(named(ended, sessions), ended.stdout).toEqual(await broken(prepared, sessions));
    expect(ended, ended.stderr + ended.stdout).toMatchObject({ code: 5 });
  });
});

test("a whole archive is clean, in both ways", async () => {
  restoreSite(prepared);
  const { site, sessions } = prepared;
  expect(await broken(prepared, sessions)).toEqual([]);
  const ended = await site.sparsebak(["check"]);
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  expect(ended.stderr).toMatch(/destination's own word/);
  expect(await site.sparsebak(["check", "--read-data"])).toMatchObject({ code: 0, stderr: "" });
});

test("chunks that have changed places", async () => {
  restoreSite(prepared);
  const { site, sessions } = prepared;
  const [a = "", b = ""] = chunksOf(first(work));
  swap(a, b);
  for (const option of [[], ["--read-data"]]) {
    const ended = await site.sparsebak(["--json", "check", ...option]);
    expect(named(ended, sessions)).toEqual(await broken(prepared, sessions));
    expect(ended).toMatchObject({ code: 5 });
  }
});
