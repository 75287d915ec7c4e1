// A caller that puts files which are not what it says, or that have no place: they are refused, and what was committed is as
// it was.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { metaName } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { committedSite, expectAborted } from "../committed-site.ts";
import { bytesOf } from "../replay.ts";
import { greeted } from "../site.ts";

test("what is not what was announced is refused, once all of it has come", async () => {
  using site = await committedSite();
  const damaged = site.second.headBytes.slice();
  damaged[100]! ^= 1;
  await using client = await greeted(site);
  await client.upload({ kind: "head", generation: 2 as Generation }, damaged);
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "malformed" } });
  expect(readdirSync(join(site.archive, "heads")).filter((name) => !name.startsWith("."))).toEqual(["1"]);
});

test("more than was announced ends the call", async () => {
  using site = await committedSite();
  const { headBytes } = site.second;
  await using client = await greeted(site);
  const name = metaName({ kind: "head", generation: 2 as Generation });
  await client.send("put", { name, length: headBytes.length - 5, digest: headBytes.slice(-32) as Digest });
  await client.send("part", { bytes: headBytes });
  await expectAborted(client, "malformed", site);
});

test("a length that no file has ends the call", async () => {
  using site = await committedSite();
  for (const length of [0, 5, 2 ** 40]) {
    await using client = await greeted(site);
    const name = metaName({ kind: "head", generation: 2 as Generation });
    await client.send("put", { name, length, digest: new Uint8Array(32) as Digest });
    await expectAborted(client, "malformed", site);
  }
});

test("a committed archive keeps its header", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await client.upload({ kind: "archive" }, bytesOf(join(site.source, "archive")));
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "exists" } });
  expect(contentsOf(site.archive)).toEqual(site.committed);
});

test("an index for a volume that was never begun has no place", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  const volume = new Uint8Array(16).fill(5) as never;
  await client.upload({ kind: "index", volume, generation: 2 as Generation }, site.session.indexBytes);
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "missing" } });
});
