// A caller that begins and ends sessions against the rules: none of them is finished, and what was committed is as it was.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Digest, Generation, SessionUid } from "../../../protocol/archive/types.ts";
import type { Refusal } from "../../../protocol/wire/messages.ts";
import { metaName } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { committedSite, expectAborted } from "../committed-site.ts";
import { begin, putMeta, sendChunks, sendState } from "../replay.ts";
import { greeted } from "../site.ts";

const refused: Record<string, readonly [Refusal, (begin: Record<string, unknown>) => object]> = {
  "for another generation": ["stale", () => ({ generation: 7 as Generation })],
  "for the current generation": ["stale", () => ({ generation: 1 as Generation })],
  "of another chunk size": ["malformed", () => ({ chunkSize: 131_072 })],
  "in another directory": ["malformed", () => ({ directory: "elsewhere" })],
  "of another volume in this one's directory": ["exists", () => ({ volume: new Uint8Array(16).fill(9) })],
  "that is there already": ["exists", () => ({ name: "S_20261123-101500" })],
  "that is there already, as a tar": ["exists", () => ({ name: "S_20261123-101500", form: "tar" })],
};

test.each(Object.keys(refused))("a session %s is refused, and another may follow", async (name) => {
  using site = await committedSite();
  const [code, change] = refused[name]!;
  await using client = await greeted(site);
  const asked = { ...site.session.begin, ...change(site.session.begin as never) };
  expect(await client.ask("beginSession", asked, "refused")).toMatchObject({ body: { code } });
  expect(contentsOf(site.archive)).toEqual(site.committed);
  await sendState(client, site.source, 2);
  expect((await client.goodbye()).exitCode).toBe(0);
});

test("a second one while the first is open ends the call", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  await client.sendRaw("beginSession", site.session.begin);
  await expectAborted(client, "malformed", site);
});

const ends: Record<string, object> = {
  "another number of chunks": { chunks: 99 },
  "another number of bytes": { storedBytes: 1 },
  "another list": { listDigest: new Uint8Array(32) },
  "another uid": { session: new Uint8Array(16).fill(8) },
};

test.each(Object.keys(ends))("one that ends with %s is not finished", async (name) => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  await sendChunks(client, site.session);
  await putMeta(client, site.session);
  expect(await client.ask("endSession", { ...site.session.end, ...ends[name] }, "refused")).toMatchObject({
    body: { code: "malformed" },
  });
  expect(existsSync(join(site.archive, "work", site.session.begin.name))).toBe(false);
  expect((await client.listPending()).map((each) => each.finished)).toEqual([false]);
});

test("one without a manifest is not finished", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  await sendChunks(client, site.session);
  expect(await client.ask("endSession", site.session.end, "refused")).toMatchObject({
    body: { code: "malformed" },
  });
});

const metas: Record<string, readonly [object, "manifestBytes" | "headerBytes" | "indexBytes"]> = {
  "the header of another kind": [{ kind: "header" }, "manifestBytes"],
  "an index": [{ kind: "index", session: new Uint8Array(16) as SessionUid }, "indexBytes"],
  "a manifest for another session": [
    { kind: "manifest", session: new Uint8Array(16).fill(7) as SessionUid },
    "manifestBytes",
  ],
  "a manifest for another generation": [{ kind: "manifest", generation: 9 as Generation }, "manifestBytes"],
};

test.each(Object.keys(metas))("%s does not become part of a session", async (name) => {
  using site = await committedSite();
  const [change, bytes] = metas[name]!;
  await using client = await greeted(site);
  await begin(client, site.session);
  const of = {
    volume: site.session.of.volume,
    session: site.session.container.uid,
    generation: 2 as Generation,
  };
  const file = site.session[bytes];
  await client.sendRaw("put", {
    name: metaName({ kind: "manifest", ...of, ...change }),
    length: file.length,
    digest: file.slice(-32) as Digest,
  });
  await client.sendRaw("part", { bytes: file }, 3);
  await expectAborted(client, "malformed", site);
});
