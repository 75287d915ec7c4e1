// sparsebak.Assemble: an image is built in the VM, where it may be, and nowhere else.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
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
  return { ...site, image, asked: { volume, session: session!.container.uid, saveTo: "", replace: false } };
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

test("an image that exists is replaced only when that is asked for", async () => {
  using site = prepared();
  writeFileSync(join(site.mountpoint, "work.img"), "precious");
  await using client = site.start("sparsebak.Assemble");
  await client.hello(site.mountpoint, archiveDirectory);
  const asked = { ...site.asked, saveTo: "work.img" };
  expect(await client.ask("assemble", asked, "refused")).toMatchObject({ body: { code: "exists" } });
  expect(readFileSync(join(site.mountpoint, "work.img"), "utf8")).toBe("precious");
  await client.ask("assemble", { ...asked, replace: true }, "assembled");
  expect(Buffer.compare(readFileSync(join(site.mountpoint, "work.img")), site.image)).toBe(0);
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

test("an image never lands among the files of the archive, nor behind a link", async () => {
  using site = prepared();
  const outside = join(site.path, "outside");
  mkdirSync(outside);
  symlinkSync(outside, join(site.mountpoint, "link"));
  const before = execFileSync("find", [site.archive], { encoding: "utf8" });
  for (const saveTo of [
    `${archiveDirectory}/heads/3`,
    `${archiveDirectory}/heads/2`,
    `${archiveDirectory}/work/S_20261123-111500/header`,
    `${archiveDirectory}/x.img`,
    "link/x.img",
  ]) {
    await using client = site.start("sparsebak.Assemble");
    await client.hello(site.mountpoint, archiveDirectory);
    const answer = await client.ask("assemble", { ...site.asked, saveTo, replace: true }, "refused");
    expect(answer).toMatchObject({ body: { code: "not-allowed" } });
  }
  expect(execFileSync("find", [site.archive], { encoding: "utf8" })).toBe(before);
  expect(readdirSync(outside)).toEqual([]);
});

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
