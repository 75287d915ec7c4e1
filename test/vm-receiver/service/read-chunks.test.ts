// Stored forms come out as they went in, in either form, at the reader's pace; and what lies there that can't be a chunk
// harms nobody (protocol.md, "Reading").

import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { chunkPath } from "../../../protocol/archive/names.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { ChunkAddress, SessionUid } from "../../../protocol/archive/types.ts";
import { peakMemory } from "../../support/agent-client.ts";
import { sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

describe.each(["dir", "tar"] as const)("form %s", (form) => {
  test("every chunk has its bytes; a chunk or a container that is not there is said to be missing", async () => {
    using site = receiverSite();
    const source = sourceArchive(site, [randomImage(60)], form);
    execFileSync("cp", ["-r", source.path, site.archive]);
    const [session] = sourceState(source.path, 1).sessions;
    await using client = site.start("sparsebak.Receive");
    await client.hello(site.mountpoint, archiveDirectory);
    const of = { volume: session!.of.volume, session: session!.container.uid };
    const addresses = session!.entries.map((each) => each.address);
    // Together some 3 MB: several batches.
    const found = await client.readChunks(of, addresses);
    expect([...found.keys()]).toEqual(addresses);
    for (const { address, checksum } of session!.entries)
      expect(sha256(found.get(address)!)).toEqual(checksum);
    expect(await client.readChunks(of, [])).toEqual(new Map());
    const [first = 0] = addresses;
    const hole = 3 * 65_536;
    expect(
      [...(await client.readChunks(of, [first, hole, 2 ** 40]))].map(([, bytes]) => bytes.length),
    ).toEqual([session!.entries[0]!.storedLength, 0, 0]);
    for (const other of [
      { ...of, session: new Uint8Array(16) as SessionUid },
      { ...of, volume: new Uint8Array(16) as typeof of.volume },
    ]) {
      const asked = { ...other, addresses: [0 as ChunkAddress] };
      expect(await client.ask("readChunks", asked, "refused")).toMatchObject({ body: { code: "missing" } });
    }
    expect((await client.goodbye()).exitCode).toBe(0);
  });

  test("a reader that takes nothing keeps the receiver small and waiting", async () => {
    using site = receiverSite();
    const source = sourceArchive(site, [randomImage(600)], form);
    execFileSync("cp", ["-r", source.path, site.archive]);
    const [session] = sourceState(source.path, 1).sessions;
    await using client = site.start("sparsebak.Receive");
    await client.hello(site.mountpoint, archiveDirectory);
    const before = peakMemory(client.pid);
    client.child.stdout!.pause();
    const of = { volume: session!.of.volume, session: session!.container.uid };
    const addresses = session!.entries.map((each) => each.address);
    const reading = client.readChunks(of, addresses);
    await sleep(1500);
    client.child.stdout!.resume();
    const found = await reading;
    expect(found.size).toBe(addresses.length);
    // 30 MB have gone through.
    expect(peakMemory(client.pid) - before).toBeLessThan(25e6);
  });
});

test("what can't be a chunk is not given, and the others are", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(12)]);
  execFileSync("cp", ["-r", source.path, site.archive]);
  const [session] = sourceState(source.path, 1).sessions;
  const addresses = session!.entries.map((each) => each.address);
  const at = (i: number): string => {
    const { group, file } = chunkPath(addresses[i]!);
    return join(site.archive, "work", session!.container.name, group, file);
  };
  truncateSync(at(0), 50_000_000); // far longer than a chunk may be
  rmSync(at(1));
  mkdirSync(at(1));
  rmSync(at(2));
  symlinkSync(at(4), at(2));
  rmSync(at(3));
  execFileSync("mkfifo", [at(3)]);
  writeFileSync(at(5), "short"); // damaged, but possible: the agent compares
  await using client = site.start("sparsebak.Receive");
  await client.hello(site.mountpoint, archiveDirectory);
  const found = await client.readChunks(
    { volume: session!.of.volume, session: session!.container.uid },
    addresses,
  );
  const lengths = addresses.map((each) => found.get(each)!.length);
  expect(lengths.slice(0, 6)).toEqual([0, 0, 0, 0, session!.entries[4]!.storedLength, 5]);
  expect(lengths.slice(6)).toEqual(session!.entries.slice(6).map((each) => each.storedLength));
  expect((await client.goodbye()).exitCode).toBe(0);
});

test("a tar that is cut short is corrupt as a whole", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(12)], "tar");
  execFileSync("cp", ["-r", source.path, site.archive]);
  const [session] = sourceState(source.path, 1).sessions;
  const tar = join(site.archive, "work", `${session!.container.name}.tar`);
  truncateSync(tar, 10_240);
  await using client = site.start("sparsebak.Receive");
  await client.hello(site.mountpoint, archiveDirectory);
  const asked = {
    volume: session!.of.volume,
    session: session!.container.uid,
    addresses: session!.entries.map((each) => each.address),
  };
  expect(await client.ask("readChunks", asked, "refused")).toMatchObject({ body: { code: "corrupt" } });
  expect((await client.goodbye()).exitCode).toBe(0);
});
