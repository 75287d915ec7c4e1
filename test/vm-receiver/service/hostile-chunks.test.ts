// A caller that sends chunks which can't be: the call ends, and what was committed is as it was.

import { test } from "vitest";
import type { ChunkAddress, Digest } from "../../../protocol/archive/types.ts";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import type { Chunk } from "../../../protocol/wire/messages.ts";
import { committedSite, expectAborted } from "../committed-site.ts";
import { begin, checksumOf } from "../replay.ts";
import { greeted } from "../site.ts";

const other = (chunk: Chunk, change: Partial<Chunk>): Chunk => ({ ...chunk, ...change });
const wrong: Record<string, (first: Chunk, size: number) => readonly Chunk[]> = {
  "an address between two chunks": (first) => [other(first, { address: 1 as ChunkAddress })],
  "an address behind the end": (first, size) => [other(first, { address: size as ChunkAddress })],
  "an address far behind the end": (first) => [other(first, { address: (2 ** 45) as ChunkAddress })],
  "another checksum": (first) => [other(first, { checksum: new Uint8Array(32) as Digest })],
  "the same chunk twice": (first) => [first, first],
  "an address below the one before": (first) => [
    other(first, { address: 65_536 as ChunkAddress }),
    other(first, { address: 0 as ChunkAddress }),
  ],
  "more bytes than a chunk of the archive can have": (first) => {
    const bytes = new Uint8Array(70_000);
    return [other(first, { bytes, checksum: checksumOf(bytes) })];
  },
};

test.each(Object.keys(wrong))("%s", async (name) => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  for (const chunk of wrong[name]!(site.session.chunk(site.session.entries[0]!), site.session.begin.size)) {
    const frame = encodeFrame("chunk", 2, { ...chunk, address: 0 as ChunkAddress });
    new DataView(frame.buffer).setBigUint64(12, BigInt(chunk.address)); // what our own codec would not say
    await client.write(frame);
  }
  await expectAborted(client, "malformed", site);
});

test("no bytes", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  const chunk = {
    address: 0 as ChunkAddress,
    checksum: checksumOf(new Uint8Array(0)),
    bytes: new Uint8Array(1),
  };
  const frame = encodeFrame("chunk", 2, chunk).subarray(0, -1);
  new DataView(frame.buffer).setUint32(8, 40);
  await client.write(frame);
  await expectAborted(client, "malformed", site);
});
