// A caller whose stream is not what the protocol says: the call ends, and what was committed is as it was.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { encodeFrame, encodePreamble } from "../../../protocol/wire/frame.ts";
import { metaName, noUuid } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { committedSite, expectAborted } from "../committed-site.ts";
import { begin } from "../replay.ts";
import { greeted, receiverSite } from "../site.ts";

test("what is refused at once takes nothing of the frames behind it", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  // More than is ever taken is refused before a byte of it has come. With it comes the next request.
  const name = metaName({ kind: "head", generation: 77 as Generation });
  const put = encodeFrame("put", 2, {
    name,
    length: Number.MAX_SAFE_INTEGER,
    digest: new Uint8Array(32) as Digest,
  });
  const read = encodeFrame("readMeta", 3, metaName({ kind: "head", generation: 1 as Generation }));
  client.order.step("put", 2);
  await client.write(Buffer.concat([put, read]));
  expect(await client.next()).toMatchObject({ type: "refused", id: 2 });
  client.order.step("readMeta", 3);
  expect(await client.next()).toMatchObject({ type: "data", id: 3 });
  expect(await client.next()).toMatchObject({ type: "done", id: 3 });
  await client.sendRaw("goodbye", {}, 4);
  client.end();
  expect((await client.ended).exitCode).toBe(0);
});

test.each([
  ["no preamble", Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(10))],
  [
    "a preamble of another version",
    Buffer.concat([encodePreamble().subarray(0, 12), Buffer.from([0, 9, 0, 0])]),
  ],
])("%s", async (_name, bytes) => {
  using site = receiverSite();
  await using client = site.start("sparsebak.Send", { args: [] });
  // The client's own preamble went first; here the stream goes wrong behind it.
  await client.write(bytes);
  expect((await client.ended).exitCode).toBe(1);
  expect(existsSync(site.archive)).toBe(false);
});

test("a length above the type's bound is refused before anything of it is kept", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  const frame = encodeFrame("listPending", 2, {});
  new DataView(frame.buffer).setUint32(8, 0xffff_ffff);
  await client.write(frame);
  await expectAborted(client, "malformed", site);
});

test("a stream that ends in the middle of a frame leaves the archive as it was", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  const frame = encodeFrame("chunk", 2, site.session.chunk(site.session.entries[0]!));
  await client.write(frame.subarray(0, frame.length - 10));
  client.end();
  expect((await client.ended).exitCode).toBe(1);
  for (const [path, digest] of Object.entries(site.committed))
    expect(contentsOf(site.archive)[path]).toBe(digest);
  expect(existsSync(join(site.archive, "heads", "2"))).toBe(false);
});

test("a hello in the middle, a wrong request id, an answer in place of a request", async () => {
  for (const frame of [
    encodeFrame("agentHello", 2, {
      service: "sparsebak.Send",
      mountpoint: "/mnt",
      directory: "",
      archive: noUuid,
    }),
    encodeFrame("listPending", 7, {}),
    encodeFrame("done", 1, { bytes: 0 }),
  ]) {
    using site = receiverSite();
    await using client = await greeted(site);
    await client.write(frame);
    await expectAborted(client, "malformed", site);
  }
});
