// An archive that is sent state by state comes out as it went in, over pipes and sockets, in both forms, on both ends of
// the range of Node; and everything of it can be read again by another service.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { maxPartBytes } from "../../../protocol/wire/messages.ts";
import { developmentNode, noUuid } from "../../support/agent-client.ts";
import { bytesOf, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

/** Differences between two directories that diff(1) sees, what only one of them has by design apart. */
function differences(a: string, b: string): string[] {
  try {
    execFileSync("diff", ["-r", "-x", "lock", "-x", "README.txt", "-x", "copies", "-x", ".extracted", a, b], {
      encoding: "utf8",
    });
    return [];
  } catch (error) {
    return String((error as { stdout?: string }).stdout)
      .trim()
      .split("\n");
  }
}

function changed(image: Uint8Array): Uint8Array {
  const copy = image.slice();
  copy.fill(7, 70_000, 400_000);
  copy.fill(0, 655_360, 786_432);
  return copy;
}

describe.each(["sockets", "pipes"] as const)("over %s", (streams) => {
  test("chunk directories come out as they went in", async () => {
    using site = receiverSite();
    const image = randomImage(40);
    const source = sourceArchive(site, [image, changed(image), changed(image)]);
    await using client = site.start("sparsebak.Send", { streams });
    const hello = await client.hello(site.mountpoint, archiveDirectory);
    expect(hello).toMatchObject({ generation: 0, archive: noUuid, capabilities: 5 });
    expect(hello.freeBytes).toBeGreaterThan(0);
    for (const generation of [1, 2, 3]) await sendState(client, source.path, generation);
    expect(await client.goodbye()).toEqual({ exitCode: 0, signal: null, stderr: "" });
    expect(differences(source.path, site.archive)).toEqual([]);
  });

  test("tars come out with the same members", async () => {
    using site = receiverSite();
    const image = randomImage(40);
    const source = sourceArchive(site, [image, changed(image)], "tar");
    await using client = site.start("sparsebak.Send", { streams });
    await client.hello(site.mountpoint, archiveDirectory);
    await sendState(client, source.path, 1);
    await sendState(client, source.path, 2);
    expect((await client.goodbye()).exitCode).toBe(0);
    const tars = readdirSync(join(site.archive, "work")).filter((name) => name.endsWith(".tar"));
    expect(tars).toHaveLength(2);
    for (const tar of tars) {
      const extracted = join(site.path, "extracted");
      execFileSync("mkdir", ["-p", extracted]);
      execFileSync("tar", ["-xf", join(site.archive, "work", tar), "-C", extracted]);
      execFileSync("tar", ["-xf", join(source.path, "work", tar), "-C", join(source.path, "work")]);
      const name = tar.replace(/\.tar$/, "");
      // Offsets are where each writer put things; all else is the same.
      execFileSync("diff", ["-r", "-x", "offsets", join(extracted, name), join(source.path, "work", name)]);
    }
  });
});

test("on the oldest Node that is supported, too", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(8)]);
  const node = join(process.cwd(), "node_modules/node-22/bin/node");
  expect(node).not.toBe(developmentNode);
  for (const streams of ["sockets", "pipes"] as const) {
    await using client = site.start("sparsebak.Send", { streams, node });
    await client.hello(site.mountpoint, streams);
    await sendState(client, source.path, 1);
    expect((await client.goodbye()).exitCode).toBe(0);
    expect(differences(source.path, join(site.mountpoint, streams))).toEqual([]);
  }
});

test("every file can be read again, older states included; what is not there is missing", async () => {
  using site = receiverSite();
  const image = randomImage(64);
  const source = sourceArchive(site, [image, changed(image)]);
  {
    await using sender = site.start();
    await sender.hello(site.mountpoint, archiveDirectory);
    await sendState(sender, source.path, 1);
    await sendState(sender, source.path, 2);
    await sender.goodbye();
  }
  await using client = site.start("sparsebak.Receive");
  const hello = await client.hello(site.mountpoint, archiveDirectory);
  const second = sourceState(source.path, 2);
  expect(hello).toMatchObject({ generation: 2, headDigest: second.commit.headDigest });
  expect(await client.read({ kind: "archive" })).toEqual(bytesOf(join(source.path, "archive")));
  for (const generation of [1, 2] as const) {
    const { headBytes, sessions, head } = sourceState(source.path, generation);
    expect(await client.read({ kind: "head", generation: head.generation })).toEqual(headBytes);
    for (const { of, container, indexBytes, headerBytes, manifestBytes, listBytes } of sessions) {
      const at = { volume: of.volume, generation: head.generation };
      const uid = { ...at, session: container.uid };
      expect(await client.read({ kind: "index", ...at })).toEqual(indexBytes);
      expect(await client.read({ kind: "header", ...uid })).toEqual(headerBytes);
      expect(await client.read({ kind: "manifest", ...uid })).toEqual(manifestBytes);
      expect(await client.read({ kind: "list", ...uid, generation: 0 as never })).toEqual(listBytes);
      expect(await client.read({ kind: "list", ...uid })).toBeUndefined();
      expect(await client.read({ kind: "manifest", ...uid, generation: 9 as never })).toBeUndefined();
    }
  }
  expect(await client.read({ kind: "head", generation: 3 as never })).toBeUndefined();
  const [session] = second.sessions;
  expect(
    await client.read({ kind: "list", volume: session!.of.volume, session: new Uint8Array(16) as never }),
  ).toBeUndefined();
  expect(
    await client.read({ kind: "index", volume: new Uint8Array(16) as never, generation: 1 as never }),
  ).toBeUndefined();
  expect((await client.goodbye()).exitCode).toBe(0);
});

test("a file of several parts is read whole", async () => {
  using site = receiverSite();
  // 24 000 chunks make a manifest of 2.2 MB.
  const size = 24_000 * 65_536;
  const read = (address: number): Uint8Array => {
    const piece = new Uint8Array(65_536);
    new DataView(piece.buffer).setFloat64(0, address + 1);
    return piece;
  };
  // In a tar: 24 000 files cost more time than all the rest.
  const image = {
    size,
    read: (address: number, length: number): Uint8Array => read(address).subarray(0, length),
  };
  const source = sourceArchive(site, [image], "tar");
  const [session] = sourceState(source.path, 1).sessions;
  expect(session!.manifestBytes.length).toBeGreaterThan(2 * maxPartBytes);
  renameSync(source.path, site.archive);
  await using client = site.start("sparsebak.Receive");
  await client.hello(site.mountpoint, archiveDirectory);
  const name = { volume: session!.of.volume, session: session!.container.uid, generation: 1 as never };
  expect(await client.read({ kind: "manifest", ...name })).toEqual(session!.manifestBytes);
}, 120_000);

test("a reader makes nothing, and says that there is no archive", async () => {
  using site = receiverSite();
  await using client = site.start("sparsebak.Receive");
  expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({
    generation: 0,
    archive: noUuid,
  });
  expect(await client.read({ kind: "head", generation: 1 as never })).toBeUndefined();
  await client.goodbye();
  expect(existsSync(site.archive)).toBe(false);
});

test("what README.txt says about restoring with standard tools is true", async () => {
  using site = receiverSite();
  const image = randomImage(16);
  const source = sourceArchive(site, [image]);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await sendState(client, source.path, 1);
  await client.goodbye();
  const readme = readFileSync(join(site.archive, "README.txt"), "utf8");
  const script = /^ {4}for f in S_[\s\S]*?^ {4}done$/m.exec(readme)?.[0] ?? "";
  const run = script.replace("S_20260101-000000", "S_20261123-101500");
  execFileSync("bash", ["-c", run], { cwd: join(site.archive, "work"), stdio: ["ignore", "pipe", "pipe"] });
  const restored = bytesOf(join(site.archive, "work", "disk.img"));
  // The last piece is all zeros, which no chunk says: only the manifest knows the size.
  expect(Buffer.compare(restored, image.subarray(0, restored.length))).toBe(0);
  expect(image.subarray(restored.length).every((byte) => byte === 0)).toBe(true);
});
