// An archive that is put back to an older state, whole or in part, or that has gone on another way than dom0 knows:
// noticed, refused, and gone on from only when that is asked for (docs/security.md, S6 to S8).

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { changeImage, makeImage } from "../../bench/image.ts";
import { chainOf, decodeHead, encodeHead } from "../../protocol/archive/head.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Generation, Mac } from "../../protocol/archive/types.ts";
import { atTerminal } from "../support/at-terminal.ts";
import { startReceiver } from "../support/agent-client.ts";
import { type Ended, makeSite, type Site, sha256Of } from "../support/site.ts";

const mib = 1024 * 1024;

function must(ended: Ended): Ended {
  expect(ended, ended.stderr).toMatchObject({ code: 0 });
  return ended;
}
function copy(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true, preserveTimestamps: true });
}
function filesOf(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).toSorted();
}
/** The recovery form in what `key --show-recovery` prints: groups of four, in one line or two. */
function recoveryIn(printed: string): string {
  return (printed.match(/^[0-9A-Z]{4}(?:-[0-9A-Z]{4})+$/gm) ?? []).join("-");
}
let seed = 20;
async function changeAndSend(site: Site, ...args: string[]): Promise<void> {
  changeImage(site.image("a.img"), mib / 4, ++seed, 3 * mib);
  must(await site.sparsebak(["-u", "send", ...args]));
}
async function newSite(): Promise<Site> {
  const site = await makeSite({
    volumes: ["a.img", "b.img"],
    driveBytes: 128 * mib,
    settings: ["chunk-size = 64K"],
  });
  for (const name of ["a.img", "b.img"])
    makeImage(site.image(name), { size: 3 * mib, dataBytes: mib, seed: ++seed });
  must(await site.sparsebak(["-u", "send"]));
  return site;
}

test("an older state is refused, in whole and in part, and accepted on request", async () => {
  await using site = await newSite();
  const [older, newer] = [join(site.directory, "older"), join(site.directory, "newer")];
  copy(site.archive, older);
  await changeAndSend(site);
  await changeAndSend(site);
  copy(site.archive, newer);
  const receipt = must(await site.sparsebak(["status", "--receipt"])).stdout.trim();
  expect(receipt).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$/);
  expect(must(await site.sparsebak(["check", "--receipt", receipt.toLowerCase()])).stdout).toContain(
    "newest",
  );
  const record = readFileSync(join(site.state, "archives", "default", "archive"), "utf8");

  const refused = async (what: RegExp): Promise<void> => {
    const before = filesOf(site.archive);
    for (const args of [["-u", "send"], ["list"]]) {
      const ended = await site.sparsebak(args);
      expect(ended.stderr).toMatch(what);
      expect(ended.code).toBe(5);
    }
    // Nothing local has changed, and nothing was written there.
    expect(readFileSync(join(site.state, "archives", "default", "archive"), "utf8")).toBe(record);
    expect(filesOf(site.archive)).toEqual(before);
  };

  // One volume's directory of then; the second copy of its index is of then as well, or is not there.
  copy(join(older, "a.img"), join(site.archive, "a.img"));
  copy(join(older, "copies", "a.img"), join(site.archive, "copies", "a.img"));
  await refused(/index/);
  // One head less, and the newest head of then under the newest name.
  copy(newer, site.archive);
  const heads = readdirSync(join(newer, "heads"))
    .map(Number)
    .sort((a, b) => b - a);
  rmSync(join(site.archive, "heads", String(heads[0])));
  rmSync(join(site.archive, "copies"), { recursive: true });
  await refused(/older state/);
  copy(join(older, "heads", String(heads[0]! - 2)), join(site.archive, "heads", String(heads[0])));
  await refused(/corrupt|damaged|generation/);
  // All of it.
  copy(older, site.archive);
  await refused(/older state/);
  expect(await site.sparsebak(["check", "--receipt", receipt])).toMatchObject({ code: 5 });

  // On a machine that knows nothing but the key, the paper tells the states apart.
  const form = must(await site.sparsebak(["key", "--show-recovery"])).stdout;
  const secret = join(site.directory, "recovery");
  writeFileSync(secret, recoveryIn(form), { mode: 0o600 });
  for (const [state, code] of [
    [older, 5],
    [newer, 0],
    [older, 5],
  ] as const) {
    copy(state, site.archive);
    const elsewhere = join(site.directory, "dom0-elsewhere");
    rmSync(elsewhere, { recursive: true, force: true });
    mkdirSync(elsewhere);
    const ini = join(elsewhere, "sparsebak.ini");
    writeFileSync(ini, readFileSync(site.ini, "utf8"));
    must(await site.sparsebak(["-u", "init", "--join", "--passphrase-file", secret], { ini }));
    must(await site.sparsebak(["list", "a.img"], { ini }));
    const found = await site.sparsebak(["check", "--receipt", receipt], { ini });
    expect(found, found.stderr).toMatchObject({ code });
  }

  // Somebody meant it.
  changeImage(site.image("a.img"), mib / 4, ++seed, 3 * mib);
  const accepted = must(await site.sparsebak(["-u", "--accept-rollback", "send"]));
  expect(accepted.stderr).toContain("ACCEPTED");
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));
  expect(await site.assembled("b.img")).toBe(sha256Of(site.image("b.img")));
  must(await site.sparsebak(["-u", "send"]));
  // The paper remembers what dom0 has agreed to forget.
  const known = await site.sparsebak(["check", "--receipt", receipt]);
  expect(known, known.stderr).toMatchObject({ code: 5 });
  const typo = receipt.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
  expect(await site.sparsebak(["check", "--receipt", typo])).toMatchObject({ code: 2 });
});

test("an older state is asked about at a terminal: no refuses it, yes goes on from it", async () => {
  await using site = await newSite();
  const older = join(site.directory, "older");
  copy(site.archive, older);
  await changeAndSend(site);
  copy(older, site.archive);
  const recordFile = join(site.state, "archives", "default", "archive");
  const [record, files] = [readFileSync(recordFile, "utf8"), filesOf(site.archive)];
  changeImage(site.image("a.img"), mib / 4, ++seed, 3 * mib);
  const send = async (answer: string): ReturnType<typeof atTerminal> =>
    atTerminal(
      site,
      "sparsebak",
      ["send"],
      [["Go on from it, and forget what was sent since? [y/N] ", answer]],
    );

  // No, and given up with ^D.
  for (const answer of ["n", "\u0004"]) {
    const refused = await send(answer);
    expect(refused.output).toContain("found an older state");
    expect(refused.output).not.toContain("ACCEPTED");
    expect(refused.code, refused.output).toBe(5);
    expect(readFileSync(recordFile, "utf8")).toBe(record);
    expect(filesOf(site.archive)).toEqual(files);
  }
  // Where nobody is asked it is no.
  expect(await site.sparsebak(["-u", "send"])).toMatchObject({ code: 5 });

  const accepted = await send("y");
  expect(accepted.code, accepted.output).toBe(0);
  expect(accepted.output).toContain("ACCEPTED");
  for (const name of ["a.img", "b.img"]) expect(await site.assembled(name)).toBe(sha256Of(site.image(name)));
  must(await site.sparsebak(["-u", "send"]));
});

test("a second agent with the same key: what follows is accepted, a fork is not", async () => {
  await using site = await newSite();
  const other = join(site.directory, "dom0-other");
  mkdirSync(other);
  copy(site.state, other);
  const ini = join(other, "sparsebak.ini");
  writeFileSync(ini, readFileSync(site.ini, "utf8"));
  const fork = join(site.directory, "fork");

  // The other one sends; this one goes on from there.
  changeImage(site.image("a.img"), mib / 4, ++seed, 3 * mib);
  must(await site.sparsebak(["-u", "send"], { ini }));
  await changeAndSend(site);
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));

  // Each sends to its own copy of the drive.
  copy(site.archive, fork);
  await changeAndSend(site);
  copy(fork, site.archive);
  changeImage(site.image("a.img"), mib / 4, ++seed, 3 * mib);
  must(await site.sparsebak(["-u", "send"], { ini }));
  const forked = await site.sparsebak(["-u", "send"]);
  expect(forked.stderr).toContain("a state that does not follow");
  expect(forked.code).toBe(5);
  must(await site.sparsebak(["-u", "--accept-rollback", "send"]));
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));
});

test("a second agent goes by what the first has renamed, deleted and sent anew, not by what it knew", async () => {
  await using site = await newSite();
  const other = join(site.directory, "dom0-other");
  copy(site.state, other);
  const ini = join(other, "sparsebak.ini");
  const sessions = async (volume: string): Promise<number> =>
    must(await site.sparsebak(["--json", "list", volume])).stdout.split('"type":"session"').length - 1;
  must(await site.sparsebak(["-u", "delete", "--yes", "a.img"]));
  must(await site.sparsebak(["-u", "send", "a.img"]));
  must(await site.sparsebak(["-u", "rename", "b.img", "c.img"]));

  // Its a.img is the new one, which has that directory now; its b.img is none that the archive has.
  for (const name of ["a.img", "b.img"]) changeImage(site.image(name), mib / 4, ++seed, 3 * mib);
  must(await site.sparsebak(["-u", "send"], { ini }));
  expect(await sessions("a.img")).toBe(2);
  expect(await sessions("b.img")).toBe(1);
  expect(await sessions("c.img")).toBe(1);
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));
  must(await site.sparsebak(["-u", "assemble", "b.img", "--save-to", "b"]));
  expect(sha256Of(join(site.drive, "b"))).toBe(sha256Of(site.image("b.img")));
  must(await site.sparsebak(["-u", "send"]));
  expect(await sessions("b.img")).toBe(1);
});

test("a known archive that turns up empty or as another one", async () => {
  await using site = await newSite();
  const aside = join(site.directory, "aside");
  copy(site.archive, aside);
  rmSync(site.archive, { recursive: true });
  const empty = await site.sparsebak(["-u", "send"]);
  expect(empty.stderr).toContain("found no archive");
  const another =
    /hint: .*Another drive or directory gets a section \[archive NAME\] of its own in the settings/;
  expect(empty.stderr).toMatch(another);
  const again = await site.sparsebak(["-u", "init"]);
  expect(again.stderr).toMatch(another);
  expect(again.code).toBe(1);
  expect(empty.code).toBe(5);
  expect(filesOf(site.drive)).not.toContain("backups/heads");

  const other = join(site.directory, "dom0-other");
  mkdirSync(other);
  writeFileSync(join(other, "sparsebak.ini"), readFileSync(site.ini, "utf8"));
  must(await site.sparsebak(["-u", "send"], { ini: join(other, "sparsebak.ini") }));
  const foreign = await site.sparsebak(["-u", "send"]);
  expect(foreign.stderr).toContain("found another archive");
  expect(foreign.code).toBe(5);
  // By the way that is said.
  const place = `destvm = backup\ndestmountpoint = ${site.drive}\ndestdir = second\n`;
  writeFileSync(site.ini, `${readFileSync(site.ini, "utf8")}[archive second]\n${place}encryption = off\n`);
  must(await site.sparsebak(["-u", "--dest", "second", "send"]));
  copy(aside, site.archive);
  must(await site.sparsebak(["-u", "send"]));
});

test("without dom0's record, an archive that was there and is gone is none to make anew", async () => {
  await using site = await newSite();
  const state = join(site.state, "archives", "default");
  const [record, key, headers, volumes, aside] = [
    join(state, "archive"),
    join(state, "key"),
    join(state, "headers"),
    join(state, "volumes"),
    join(site.drive, "aside"),
  ];
  renameSync(site.archive, aside);
  rmSync(record);
  const send = ["-u", "send"];
  const refused = async (what: string, ...commands: readonly (readonly string[])[]): Promise<void> => {
    const before = filesOf(site.state);
    for (const command of commands) {
      const ended = await site.sparsebak(command);
      const said = `${what}: ${command.join(" ")}: ${ended.stderr}`;
      expect(ended, said).toMatchObject({ code: 5, stdout: "" });
      expect(ended.stderr, said).toContain(
        `${record}: it is not there, though other state of the archive is`,
      );
      expect(ended.stderr, said).toContain(`to begin anew, move ${state} away`);
      expect(existsSync(join(site.archive, "heads")), said).toBe(false);
    }
    expect(filesOf(site.state), what).toEqual(before);
  };
  await refused("all else is there", send, ["-u", "init", "--no-passphrase"], ["list"]);
  renameSync(headers, `${headers}-away`);
  await refused("without headers", send);
  renameSync(`${headers}-away`, headers);
  renameSync(volumes, `${volumes}-away`);
  await refused("without volumes", send);
  renameSync(key, `${key}-away`);
  await refused("without the key as well", send);
  renameSync(`${key}-away`, key);
  renameSync(`${volumes}-away`, volumes);

  // The archive is back: the record is made again from it.
  rmSync(site.archive, { recursive: true, force: true });
  renameSync(aside, site.archive);
  expect(must(await site.sparsebak(["-u", "send"])).stderr).toContain("made again from the archive");
  await changeAndSend(site);
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));

  // What the hint says leads to a new one.
  renameSync(site.archive, aside);
  renameSync(state, join(site.directory, "old-state"));
  must(await site.sparsebak(["-u", "send"]));
  expect(await site.assembled("a.img")).toBe(sha256Of(site.image("a.img")));
});

test("a head that somebody else has put is refused, and the way back is said and works", async () => {
  await using site = await newSite();
  const forge = async (): Promise<number> => {
    await using client = startReceiver("sparsebak.Send", { entry: site.program("receiver.mjs") });
    const hello = await client.hello(site.drive, "backups");
    const own = decodeHead(new Uint8Array(readFileSync(join(site.archive, "heads", `${hello.generation}`))));
    const generation = (hello.generation + 1) as Generation;
    const log = new Uint8Array([...own.log, ...new Uint8Array(8)]);
    const body = { ...own, generation, previousChain: own.chain, log };
    const chain = chainOf(own.archive, generation, own.chain, body);
    const head = encodeHead({ ...body, chain, mac: new Uint8Array(32) as Mac });
    await client.put({ kind: "head", generation }, head);
    const { generation: base, headDigest: baseDigest } = hello;
    await client.ask("commit", { base, baseDigest, headDigest: fileDigest(head) }, "committed");
    await client.goodbye();
    return generation;
  };
  const forged = [await forge(), await forge()];
  for (const each of forged.toReversed()) {
    for (const command of [["list"], ["-u", "send"], ["-u", "--accept-rollback", "send"]]) {
      const ended = await site.sparsebak(command);
      expect(ended.stderr).toMatch(
        `head ${each}: its authentication code does not fit: altered, or made with another key\nsparsebak: hint: this dom0 has accepted head ${forged[0]! - 1}.`,
      );
      expect(ended.stderr).toMatch(`move heads/${each} out of the archive`);
      expect(ended).toMatchObject({ code: 5 });
    }
    for (const place of ["heads", "copies/heads"])
      rmSync(join(site.archive, place, String(each)), { force: true });
  }
  await changeAndSend(site);
  for (const name of ["a.img", "b.img"]) expect(await site.assembled(name)).toBe(sha256Of(site.image(name)));
  must(await site.sparsebak(["-u", "check"]));
});
