// sparsebak.Assemble: an image is built in the VM, where it may be, and nowhere else.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import type { Assemble } from "../../../protocol/wire/messages.ts";
import { sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

interface Prepared extends ReceiverSite {
  readonly image: Uint8Array;
  readonly asked: Assemble;
}

function prepared(form: "dir" | "tar" = "dir"): Prepared {
  const site = receiverSite();
  const image = randomImage(24);
  const source = sourceArchive(site, [randomImage(24), image], form);
  const [session] = sourceState(source.path, 2).sessions;
  rmSync(join(source.path, "work", ".extracted"), { recursive: true, force: true });
  execFileSync("cp", ["-r", source.path, site.archive]);
  const { volume } = session!.of;
  return { ...site, image, asked: { volume, session: session!.container.uid, saveTo: "" } };
}

describe.each(["dir", "tar"] as const)("from sessions in form %s", (form) => {
  test.each([
    ["", `${archiveDirectory}/assembled/work.S_20261123-111500.img`],
    ["images/today/work.img", "images/today/work.img"],
    ["work.img", "work.img"],
  ])("to «%s»", async (saveTo, where) => {
    using site = prepared(form);
    await using client = site.start("sparsebak.Assemble");
    await client.hello(site.mountpoint, archiveDirectory);
    const { body } = await client.ask("assemble", { ...site.asked, saveTo }, "assembled");
    const digest = createHash("sha256").update(site.image).digest();
    expect(body).toMatchObject({ size: site.image.length, imageDigest: new Uint8Array(digest) });
    expect(Buffer.compare(readFileSync(join(site.mountpoint, where)), site.image)).toBe(0);
    expect((await client.goodbye()).exitCode).toBe(0);
  });
});

test("what is there is never replaced, whatever it is", async () => {
  using site = prepared();
  writeFileSync(join(site.mountpoint, "work.img"), "precious");
  mkdirSync(join(site.mountpoint, "directory"));
  symlinkSync("nowhere", join(site.mountpoint, "link"));
  await using client = site.start("sparsebak.Assemble");
  await client.hello(site.mountpoint, archiveDirectory);
  for (const saveTo of ["work.img", "directory", "link"]) {
    const answer = await client.ask("assemble", { ...site.asked, saveTo }, "refused");
    expect(answer).toMatchObject({ body: { code: "exists" } });
    expect((answer.body as { reason: string }).reason).not.toContain("/");
  }
  expect(readFileSync(join(site.mountpoint, "work.img"), "utf8")).toBe("precious");
  expect(readdirSync(site.mountpoint).toSorted()).toEqual([
    archiveDirectory,
    "directory",
    "link",
    "work.img",
  ]);
  await client.ask("assemble", site.asked, "assembled");
  expect(await client.ask("assemble", site.asked, "refused")).toMatchObject({ body: { code: "exists" } });
});

test("what is not there is missing, and what is damaged is corrupt", async () => {
  using site = prepared();
  await using client = site.start("sparsebak.Assemble");
  await client.hello(site.mountpoint, archiveDirectory);
  const session = new Uint8Array(16).fill(9) as SessionUid;
  expect(await client.ask("assemble", { ...site.asked, session }, "refused")).toMatchObject({
    body: { code: "missing" },
  });
  const chunks = join(site.archive, "work", "S_20261123-111500", "000000000");
  const [first] = readdirSync(chunks);
  writeFileSync(join(chunks, first!), "rotten");
  const answer = await client.ask("assemble", { ...site.asked, saveTo: "work.img" }, "refused");
  expect(answer).toMatchObject({ body: { code: "corrupt" } });
  expect(readdirSync(site.mountpoint)).toEqual([archiveDirectory]);
});

test("an image never lands among the files of an archive, nor behind a link", async () => {
  using site = prepared();
  const outside = join(site.path, "outside");
  mkdirSync(outside);
  symlinkSync(outside, join(site.mountpoint, "link"));
  // Other archives: one below, one whose header is lost, one that was never committed.
  cpSync(site.archive, join(site.mountpoint, "others/second"), { recursive: true });
  cpSync(site.archive, join(site.mountpoint, "third"), { recursive: true });
  rmSync(join(site.mountpoint, "third", "archive"));
  cpSync(join(site.archive, "archive"), join(site.mountpoint, "fourth", "archive"));
  const before = execFileSync("find", [site.mountpoint], { encoding: "utf8" });
  for (const saveTo of [
    `${archiveDirectory}/heads/3`,
    `${archiveDirectory}/heads/2`,
    `${archiveDirectory}/work/S_20261123-111500/header`,
    `${archiveDirectory}/x.img`,
    "link/x.img",
    "others/second/heads/999999",
    "others/second/x.img",
    "others/second/work/index.9",
    "others/second/new/x.img",
    "third/heads/999999",
    "fourth/heads/1",
  ]) {
    await using client = site.start("sparsebak.Assemble");
    await client.hello(site.mountpoint, archiveDirectory);
    const answer = await client.ask("assemble", { ...site.asked, saveTo }, "refused");
    expect(answer, saveTo).toMatchObject({ body: { code: "not-allowed" } });
  }
  expect(execFileSync("find", [site.mountpoint], { encoding: "utf8" })).toBe(before);
  expect(readdirSync(outside)).toEqual([]);
});

test("an image never lands where programs look for settings of their own", async () => {
  using site = prepared();
  // As that of an ssh server for the account's own keys would be.
  mkdirSync(join(site.mountpoint, "user", ".ssh"), { recursive: true });
  const before = execFileSync("find", [site.mountpoint], { encoding: "utf8" });
  for (const saveTo of ["user/.ssh/authorized_keys2", "user/.profile", "user/.config/autostart/x", ".x/y"]) {
    await using client = site.start("sparsebak.Assemble");
    await client.hello(site.mountpoint, archiveDirectory);
    const answer = await client.ask("assemble", { ...site.asked, saveTo }, "refused");
    expect(answer, saveTo).toMatchObject({ body: { code: "not-allowed" } });
  }
  expect(execFileSync("find", [site.mountpoint], { encoding: "utf8" })).toBe(before);
});

test.each(["work", "work/S_20261123-101500", "work/S_20261123-111500/000000000"])(
  "nothing is read through a link in place of %s",
  async (place) => {
    using site = prepared();
    const outside = join(site.path, "outside");
    renameSync(join(site.archive, place), outside);
    symlinkSync(outside, join(site.archive, place));
    await using client = site.start("sparsebak.Assemble");
    await client.hello(site.mountpoint, archiveDirectory);
    const answer = await client.ask("assemble", site.asked, "refused");
    expect(["corrupt", "not-allowed"]).toContain((answer.body as { code: string }).code);
  },
);

test("told to stop, it leaves no half of an image", async () => {
  using site = prepared();
  await using client = site.start("sparsebak.Assemble");
  await client.hello(site.mountpoint, archiveDirectory);
  await client.send("assemble", { ...site.asked, saveTo: "work.img" });
  client.child.kill("SIGTERM");
  const answer = await client.next();
  const end = await client.ended;
  if (answer.type === "assembled") expect(existsSync(join(site.mountpoint, "work.img"))).toBe(true);
  else {
    expect(answer).toMatchObject({ type: "aborted", body: { code: "stopped" } });
    expect(end.exitCode).toBe(143);
    expect(readdirSync(site.mountpoint)).toEqual([archiveDirectory]);
  }
});
