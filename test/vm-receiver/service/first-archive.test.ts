// What became of a first archive that was never committed.

import { execFileSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { bytesOf, commit, putArchive, putIndex, sendSession, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, greeted, randomImage, receiverSite, sourceArchive } from "../site.ts";

test("gives way to another one, and what is somebody's own stays", async () => {
  using site = receiverSite();
  const image = randomImage(8);
  const source = sourceArchive(site, [image]);
  {
    await using client = await greeted(site);
    await putArchive(client, source.path);
  }
  execFileSync("mkdir", ["-p", join(site.archive, "Photos")]);
  writeFileSync(join(site.archive, "Photos", "cat.jpg"), "cat");
  rmSync(source.path, { recursive: true });
  const other = sourceArchive(site, [image]);
  await using client = site.start();
  expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 0 });
  await sendState(client, other.path, 1);
  expect((await client.goodbye()).exitCode).toBe(0);
  expect(readdirSync(join(site.archive, "Photos"))).toEqual(["cat.jpg"]);
  execFileSync("diff", [
    "-r",
    "-x",
    "lock",
    "-x",
    "README.txt",
    "-x",
    "copies",
    "-x",
    "Photos",
    other.path,
    site.archive,
  ]);
});

test("gives way to none where it has sessions, though no agent begins any before its head", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(8)]);
  const state = sourceState(source.path, 1);
  await using client = await greeted(site);
  const header = bytesOf(join(source.path, "archive"));
  await client.put({ kind: "archive" }, header);
  await sendSession(client, state.sessions[0]!);
  rmSync(source.path, { recursive: true });
  await client.upload({ kind: "archive" }, bytesOf(join(sourceArchive(site, []).path, "archive")));
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "exists" } });
  expect(bytesOf(join(site.archive, "archive"))).toEqual(header);
});

test("goes on where it is the same archive", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(8)]);
  const state = sourceState(source.path, 1);
  {
    await using client = await greeted(site);
    await putArchive(client, source.path);
    await sendSession(client, state.sessions[0]!);
  }
  await using client = await greeted(site);
  await putArchive(client, source.path);
  await putIndex(client, state.sessions[0]!);
  await commit(client, state);
  expect(await client.listPending()).toEqual([]);
});
