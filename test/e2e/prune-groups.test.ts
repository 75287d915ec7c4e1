// A prune of several groups of volumes, of which the first fails: what becomes of the others, and what is said of it.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { stateLayout } from "../../dom0-agent/state/layout.ts";
import { noteUnfinished } from "../../dom0-agent/state/unfinished-prune.ts";
import { makeSite, sha256Of, type Site } from "../support/site.ts";
import { type Digests, linesOf, listed, send } from "../support/site-sessions.ts";

const mib = 1024 * 1024;
const size = 2 * mib;
const volumes = ["a.img", "b.img"] as const;

let site: Site;
let other: string;
let reset: () => void;

/** The first manifest of the first volume, which is damaged. */
let manifest = "";

/** Two sessions of each volume. */
beforeAll(async () => {
  const settings = ["chunk-size = 64K"];
  site = await makeSite({ volumes, driveBytes: 64 * mib, local: true, settings });
  const digests: Digests = new Map();
  for (const [i, each] of volumes.entries())
    makeImage(site.image(each), { size, dataBytes: mib, seed: 80 + i });
  const [first = ""] = await send(site, digests);
  for (const [i, each] of volumes.entries()) changeImage(site.image(each), mib / 4, 90 + i, size);
  await send(site, digests);
  const session = join(site.archive, "a.img", first);
  manifest = join(session, readdirSync(session).find((each) => each.startsWith("manifest")) ?? "");
  const bytes = readFileSync(manifest);
  bytes.writeUInt8((bytes[200] ?? 0) ^ 1, 200);
  writeFileSync(manifest, bytes);
  other = join(site.directory, "dom0-other");
  cpSync(site.state, other, { recursive: true });
  const saved = join(site.directory, "saved");
  const places = { archive: site.archive, state: site.state, other };
  for (const [name, path] of Object.entries(places)) cpSync(path, join(saved, name), { recursive: true });
  reset = () => {
    for (const [name, path] of Object.entries(places)) {
      rmSync(path, { recursive: true });
      cpSync(join(saved, name), path, { recursive: true });
    }
  };
});
afterAll(async () => site[Symbol.asyncDispose]());
beforeEach(() => reset());

const stateOf = (pid: number): string | undefined =>
  /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];

test("what another host commits before the next connection stops the prune, and stays", async () => {
  const args = ["-u", "prune", "--keep-last", "1"];
  const countInto = join(site.directory, "count");
  // From the first group's work on, to the connection that takes the place of its own.
  const from = "^rmSync .*/prune$";
  const counting = await site.sparsebak(args, { countInto, counted: { from, until: "^spawn" } });
  expect(counting, counting.stderr).toMatchObject({ code: 5 });
  const killAt = Number(readFileSync(countInto, "utf8")) + 1;
  reset();
  let pid = 0;
  const counted = { from, until: "^never$" };
  const running = site.sparsebak(args, { killAt, stop: true, counted, onStart: (id) => (pid = id) });
  while (stateOf(pid) !== "T") await sleep(20);
  let session = "";
  try {
    changeImage(site.image("b.img"), mib / 4, 95, size);
    const ini = join(other, "sparsebak.ini");
    const sent = await site.sparsebak(["-u", "--json", "send", "b.img"], { ini });
    expect(sent, sent.stderr).toMatchObject({ code: 0 });
    session = String(linesOf(sent).find(({ type }) => type === "volume")?.["session"]);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  const ended = await running;
  // What had become of the first one by then is said as well.
  expect(ended.stderr).toMatch(/error: .*manifest\.\d+ of S_[^]*the archive has changed meanwhile/);
  expect(ended).toMatchObject({ code: 1 });
  expect(await listed(site)).toHaveLength(5);
  expect(await site.assembled("b.img", session)).toBe(sha256Of(site.image("b.img")));
});

test("what is wrong with a group that only an earlier prune has left is said, and the status tells", async () => {
  const paths = stateLayout(site.state).archive("default");
  const record = readFileSync(paths.archive, "utf8").split("\n")[0] ?? "";
  const known = (JSON.parse(record) as { volumes: { name: string; group: string }[] }).volumes;
  noteUnfinished(paths, known.find(({ name }) => name === "a.img")?.group ?? "", true);
  const ended = await site.sparsebak(["-u", "prune", "b.img", "--keep-last", "1"]);
  expect(ended.stderr).toMatch(/manifest\.\d+ of S_.*not the one that the index names/);
  expect(ended.stdout).toMatch(/b\.img: 1 of 2 sessions removed/);
  expect(ended).toMatchObject({ code: 5 });
});

test("a manifest that the receiver can't read is a matter of its volume; the others are pruned", async () => {
  rmSync(manifest);
  mkdirSync(manifest);
  const ended = await site.sparsebak(["-u", "prune", "--keep-last", "1"]);
  expect(ended.stderr).toMatch(/manifest/);
  expect(ended.stdout).toMatch(/b\.img: 1 of 2 sessions removed/);
  expect(ended).toMatchObject({ code: 5 });
});
