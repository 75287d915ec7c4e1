// A gigabyte passes through the receiver and it stays small; what it has synced on the way it says.

import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listBuilder } from "../../../protocol/archive/list-file.ts";
import type { ChunkAddress, Digest } from "../../../protocol/archive/types.ts";
import { peakMemory } from "../../support/agent-client.ts";
import { begin, bytesOf, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

const GiB = 2 ** 30;
const MiB = 2 ** 20;
const storedBytes = 64_000;

test.each(["dir", "tar"] as const)(
  "a gigabyte in form %s: less than 150 MB of memory, and checkpoints",
  async (form) => {
    using site = receiverSite();
    const source = sourceArchive(site, [randomImage(4)]);
    const [session] = sourceState(source.path, 1).sessions;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await client.put({ kind: "archive" }, bytesOf(join(source.path, "archive")));
    const asked = { ...session!.begin, form, size: 2 * GiB };
    await begin(client, { ...session!, begin: asked });
    const list = listBuilder({ ...asked, archive: source.header.uuid });
    const bytes = new Uint8Array(randomBytes(storedBytes));
    const chunks = Math.ceil(GiB / storedBytes);
    for (let i = 0; i < chunks; i++) {
      new DataView(bytes.buffer).setUint32(0, i);
      const checksum = new Uint8Array(createHash("sha256").update(bytes).digest()) as Digest;
      const address = (i * 65_536) as ChunkAddress;
      await client.send("chunk", { address, checksum, bytes });
      list.add({ address, storedLength: bytes.length, checksum });
    }
    const { digest, chunks: counted, bytes: total } = list.finish();
    await client.send("endSession", {
      session: asked.session,
      chunks: counted,
      storedBytes: total,
      listDigest: digest,
    });
    // No manifest was put, so it is refused; by then everything has come and been counted.
    const answer = await client.expect("refused");
    expect(answer.reason).toContain("without its manifest");
    expect(peakMemory(client.pid)).toBeLessThan(150e6);
    expect(client.checkpoints.length).toBeGreaterThan(0);
    for (const { chunks: reached, address } of client.checkpoints) {
      expect(address).toBe((reached - 1) * 65_536);
      expect(reached * storedBytes).toBeGreaterThanOrEqual(512 * MiB);
    }
  },
  180_000,
);
