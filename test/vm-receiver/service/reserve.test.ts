// What sends leave on a drive is left by whatever a caller may send, not by chunks alone: a prune has to write before it can
// remove anything, and nobody who may only send can keep it from that.

import { randomBytes } from "node:crypto";
import { statfsSync } from "node:fs";
import { expect, test } from "vitest";
import type { Digest, VolumeId } from "../../../protocol/archive/types.ts";
import { type AgentClient, metaName } from "../../support/agent-client.ts";
import { loopMount, noLoopMounts } from "../loop-mount.ts";
import { begin, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

const MiB = 1024 * 1024;

/** A drive with one committed state, and the session that comes next. */
async function mounted(form: "dir" | "tar", size: number, args: readonly string[] = []) {
  const mount = loopMount("ext4", size, ["-m", "0", ...args]);
  const site = receiverSite(mount.path);
  const source = sourceArchive(site, [randomImage(4), randomImage(4)], form);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await sendState(client, source.path, 1);
  await client.goodbye();
  const free = () => {
    const { bsize, blocks, bavail, files, ffree } = statfsSync(mount.path);
    return { bytes: bsize * bavail, reserve: (bsize * blocks) / 64, inodes: ffree, inodeReserve: files / 64 };
  };
  const [session] = sourceState(source.path, 2).sessions;
  const [first] = sourceState(source.path, 1).sessions;
  return {
    ...site,
    session: session!,
    first: first!,
    free,
    [Symbol.dispose]: () => {
      mount[Symbol.dispose]();
      site[Symbol.dispose]();
    },
  };
}

const partBytes = 128 * 1024;

/** Says parts of noise until the receiver has had enough, or `length` bytes. Gives what it said then. */
async function flood(client: AgentClient, length: number): Promise<unknown> {
  const parts = (async () => {
    for (let sent = 0; sent < length; sent += partBytes)
      await client.send("part", { bytes: randomBytes(partBytes) });
  })().catch(() => undefined);
  const answer = await client.next();
  await parts;
  return answer;
}

const noDigest = new Uint8Array(32) as Digest;

test.skipIf(noLoopMounts !== undefined)("a manifest without end", { timeout: 60_000 }, async () => {
  using site = await mounted("dir", 64 * MiB);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  const { session } = site;
  await begin(client, { ...session, begin: { ...session.begin, size: 2 ** 50 } });
  const name = metaName({
    kind: "manifest",
    volume: session.of.volume,
    session: session.container.uid,
    generation: session.begin.generation,
  });
  await client.send("put", { name, length: 80 * MiB, digest: noDigest });
  expect(await flood(client, 80 * MiB)).toMatchObject({ type: "aborted", body: { code: "no-space" } });
  expect(site.free().bytes).toBeGreaterThan(site.free().reserve - 2 * partBytes);
});

test.skipIf(noLoopMounts !== undefined)("an index of the largest size", { timeout: 60_000 }, async () => {
  using site = await mounted("dir", 64 * MiB);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  const name = metaName({
    kind: "index",
    volume: site.first.of.volume,
    generation: site.session.begin.generation,
  });
  await client.send("put", { name, length: 64 * MiB, digest: noDigest });
  const answer = await flood(client, 64 * MiB);
  expect(answer).toMatchObject({ type: "refused", body: { code: "no-space" } });
  // Not because nothing went any more.
  expect((answer as { body: { reason: string } }).body.reason).toContain("a prune may need those");
});

test.skipIf(noLoopMounts !== undefined)(
  "sessions and archives one after the other",
  { timeout: 120_000 },
  async () => {
    using site = await mounted("tar", 16 * MiB, ["-N", "512"]);
    const { session, free } = site;
    let refused: unknown;
    // As tars, each in a directory of its own, and cut short.
    for (let i = 0; refused === undefined && i < 1000; i++) {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      const asked = {
        ...session.begin,
        form: "tar" as const,
        directory: `v${i}`,
        volume: randomBytes(16) as Uint8Array as VolumeId,
      };
      await client.send("beginSession", asked);
      const answer = await client.next();
      if (answer.type !== "done") refused = answer;
    }
    expect(refused).toMatchObject({ type: "refused", body: { code: "no-inodes" } });
    expect(free().inodes).toBeGreaterThan(0);
    // And directories for new archives.
    await using client = site.start();
    await expect(client.hello(site.mountpoint, "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t")).rejects.toThrow(
      "no-inodes",
    );
  },
);
