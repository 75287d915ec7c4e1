// Real file systems that are full, read-only, or go away in the middle. Nothing is called committed that is not, no byte
// lands elsewhere, and what was committed before is still there.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createHash, randomBytes } from "node:crypto";
import type { ChunkAddress, Digest } from "../../../protocol/archive/types.ts";
import { type AgentClient, noUuid } from "../../support/agent-client.ts";
import { cannotMount, type LoopMount, loopMount, noLoopMounts } from "../loop-mount.ts";
import {
  begin,
  commit,
  putIndex,
  putMeta,
  sendChunks,
  sendSession,
  sendState,
  sendStates,
  type SourceSession,
  sourceState,
} from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

const MiB = 1024 * 1024;

interface Mounted extends ReceiverSite {
  readonly mount: LoopMount;
  readonly source: string;
  readonly session: SourceSession;
}

/** A site on a file system of its own with one committed state. */
async function mounted(
  type: string,
  size: number,
  args: readonly string[] = [],
  form: "dir" | "tar" = "dir",
): Promise<Mounted> {
  const mount = loopMount(type, size, args);
  const site = receiverSite(mount.path);
  const image = randomImage(8);
  const next = image.slice();
  for (let i = 0; i < 6; i++) next.set(randomBytes(65_536), i * 65_536);
  const source = sourceArchive(site, [image, next], form);
  await sendStates(site, source.path, [1]);
  return {
    ...site,
    mount,
    source: source.path,
    session: sourceState(source.path, 2).sessions[0]!,
    [Symbol.dispose]: () => {
      mount[Symbol.dispose]();
      site[Symbol.dispose]();
    },
  };
}

const digestsOf = (site: Mounted): string =>
  execFileSync(
    "bash",
    ["-c", "find heads/1 archive work/index.1 work/S_20261123-101500* -type f | sort | xargs sha256sum"],
    {
      cwd: site.archive,
      encoding: "utf8",
    },
  );

/** Sends chunks until the receiver gives up; gives its code. */
async function floodUntilAborted(
  client: AgentClient,
  session: SourceSession,
  bytes: number,
): Promise<string> {
  const chunks = Math.floor(session.begin.size / 65_536);
  const stored = new Uint8Array(randomBytes(bytes));
  const checksum = createHash("sha256").update(stored).digest() as unknown as Digest;
  const state = { answered: false };
  const answer = client.next().finally(() => {
    state.answered = true;
  });
  for (let i = 0; i < chunks && !state.answered; i++) {
    await client.sendRaw("chunk", { address: (i * 65_536) as ChunkAddress, checksum, bytes: stored });
    await new Promise((resolve) => setImmediate(resolve));
  }
  const frame = await answer;
  return frame.type === "aborted" ? frame.body.code : frame.type;
}

describe.skipIf(noLoopMounts !== undefined)(
  `on loop mounts${noLoopMounts ? `: skipped, ${noLoopMounts}` : ""}`,
  () => {
    const types: Record<string, readonly [string, number, readonly string[]]> = {
      ext4: ["ext4", 64 * MiB, []],
      vfat: ["vfat", 64 * MiB, []],
      btrfs: ["btrfs", 128 * MiB, []],
      xfs: ["xfs", 320 * MiB, []],
    };

    describe.each(Object.keys(types))("%s", (name) => {
      const [type, size, args] = types[name]!;
      const missing = cannotMount(type);
      const skipped = missing === undefined ? "" : ` (skipped: ${missing})`;
      const each = test.skipIf(missing !== undefined).each(["dir", "tar"] as const);
      each(`takes a real mountpoint, and sessions in form %s${skipped}`, async (form) => {
        using site = await mounted(type, size, args, form);
        await using client = site.start();
        const hello = await client.hello(site.mountpoint, archiveDirectory);
        expect(hello.capabilities).toBe(type === "vfat" ? 0 : 5);
        expect(hello.totalBytes).toBeGreaterThan(size / 3);
        expect(hello.totalInodes > 0).toBe(type === "ext4" || type === "xfs");
        await sendState(client, site.source, 2);
        expect((await client.goodbye()).exitCode).toBe(0);
        execFileSync("diff", [
          "-r",
          "-x",
          "lock",
          "-x",
          "README.txt",
          "-x",
          "copies",
          "-x",
          "*.tar",
          "-x",
          ".extracted",
          site.source,
          site.archive,
        ]);
        const finished = readdirSync(join(site.archive, "work")).filter((entry) => entry.startsWith("S_"));
        expect(finished).toHaveLength(2);
      });
    });

    test("a full disk ends the session with no-space, and nothing committed is lost", async () => {
      for (const form of ["dir", "tar"] as const) {
        using site = await mounted("ext4", 24 * MiB);
        const before = digestsOf(site);
        {
          await using client = site.start();
          await client.hello(site.mountpoint, archiveDirectory);
          const asked = { ...site.session.begin, form, size: 2 ** 32 };
          await client.ask("beginSession", asked, "done");
          const session = { ...site.session, begin: asked };
          expect(await floodUntilAborted(client, session, 60_000)).toBe("no-space");
          expect((await client.ended).exitCode).toBe(1);
        }
        expect(digestsOf(site)).toBe(before);
        // The leftovers are removed, and then there is room again.
        await using client = site.start();
        await client.hello(site.mountpoint, archiveDirectory);
        const [left] = await client.listPending();
        await client.ask("discard", { directory: "work", session: left!.session }, "done");
        await sendState(client, site.source, 2);
        expect(digestsOf(site)).toBe(before);
      }
    });

    test("a file system without inodes ends the session with no-inodes", async () => {
      using site = await mounted("ext4", 64 * MiB, ["-N", "64"]);
      const before = digestsOf(site);
      {
        await using client = site.start();
        const hello = await client.hello(site.mountpoint, archiveDirectory);
        expect(hello.freeInodes).toBeLessThan(64);
        const asked = { ...site.session.begin, size: 2 ** 32 };
        await client.ask("beginSession", asked, "done");
        expect(await floodUntilAborted(client, { ...site.session, begin: asked }, 100)).toBe("no-inodes");
      }
      // With no inode left for so much as a probe, the leftovers can still be removed.
      const fill = (): void => {
        for (let i = 0; i < 64; i++) writeFileSync(join(site.mountpoint, `filler${i}`), "");
      };
      expect(fill).toThrow("ENOSPC");
      await using client = site.start();
      expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({ freeInodes: 0 });
      const [left] = await client.listPending();
      await client.ask("discard", { directory: "work", session: left!.session }, "done");
      await sendState(client, site.source, 2);
      expect(digestsOf(site)).toBe(before);
    });

    test("one that is mounted read-only is refused to a sender, and served to a reader", async () => {
      using site = await mounted("ext4", 32 * MiB);
      site.mount.run("mount", "-o", "remount,ro", site.mountpoint);
      await using client = site.start();
      await client.send("agentHello", {
        service: "sparsebak.Send",
        mountpoint: site.mountpoint,
        directory: archiveDirectory,
        archive: noUuid,
      });
      expect(await client.next()).toMatchObject({ type: "refused", body: { code: "read-only" } });
      await using reader = site.start("sparsebak.Receive");
      expect(await reader.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
      expect(await reader.read({ kind: "archive" })).toBeDefined();
    });

    test("one that turns read-only in the middle ends the session with read-only", async () => {
      using site = await mounted("ext4", 32 * MiB);
      const before = digestsOf(site);
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await begin(client, site.session);
      await sendChunks(client, site.session, 2);
      // As the kernel does after an I/O error: files that are open would keep a polite remount away.
      site.mount.run("mount", "-o", "remount,abort", site.mountpoint);
      await client.sendRaw("chunk", site.session.chunk(site.session.entries[2]!));
      for (;;) {
        const frame = await client.next();
        if (frame.type !== "aborted") continue;
        expect(["read-only", "io"]).toContain(frame.body.code);
        break;
      }
      expect(digestsOf(site)).toBe(before);
    });

    test("a directory on which nothing is mounted is refused, and so is one below a mountpoint", async () => {
      using mount = loopMount("ext4", 16 * MiB);
      mkdirSync(join(mount.path, "below"));
      using site = receiverSite();
      writeFileSync(site.settings, "");
      for (const path of [site.mountpoint, join(mount.path, "below"), join(mount.path, "absent")]) {
        await using client = site.start();
        await client.send("agentHello", {
          service: "sparsebak.Send",
          mountpoint: path,
          directory: "",
          archive: noUuid,
        });
        expect(await client.next()).toMatchObject({ type: "refused", body: { code: "not-mounted" } });
      }
      expect(readdirSync(site.mountpoint)).toEqual([]);
    });

    test("another file system mounted over part of the way to the archive is refused", async () => {
      using mount = loopMount("ext4", 16 * MiB);
      const below = join(mount.path, "below");
      mkdirSync(below);
      mount.run("mount", "-t", "tmpfs", "none", below);
      try {
        using site = receiverSite(mount.path);
        await using client = site.start();
        await client.send("agentHello", {
          service: "sparsebak.Send",
          mountpoint: mount.path,
          directory: "below/archive",
          archive: noUuid,
        });
        expect(await client.next()).toMatchObject({ type: "refused", body: { code: "not-mounted" } });
      } finally {
        mount.run("umount", below);
      }
    });

    const goings: Record<string, (mount: LoopMount) => void> = {
      "unmounted lazily": (mount) => mount.run("umount", "-l", mount.path),
      "covered by another mount": (mount) => mount.run("mount", "-t", "tmpfs", "none", mount.path),
    };
    describe.each(Object.keys(goings))("%s in the middle", (how) => {
      const moments: Record<
        string,
        (client: AgentClient, site: Mounted, go: () => void) => Promise<unknown>
      > = {
        "while chunks come": async (client, site, go) => {
          await begin(client, site.session);
          await sendChunks(client, site.session, 2);
          go();
          return client.next();
        },
        "before the session ends": async (client, site, go) => {
          await begin(client, site.session);
          await sendChunks(client, site.session);
          await putMeta(client, site.session);
          go();
          await client.send("endSession", site.session.end);
          return client.next();
        },
        "before the commit": async (client, site, go) => {
          await sendSession(client, site.session);
          await putIndex(client, site.session);
          go();
          return commit(client, sourceState(site.source, 2)).then(
            () => "committed",
            (error: unknown) => String(error),
          );
        },
      };
      test.each(Object.keys(moments))("%s: not-mounted, and no byte elsewhere", async (moment) => {
        using site = await mounted("ext4", 32 * MiB);
        await using client = site.start();
        await client.hello(site.mountpoint, archiveDirectory);
        const answer = await moments[moment]!(client, site, () => goings[how]!(site.mount));
        expect(JSON.stringify(answer)).toContain("not-mounted");
        expect(answer).not.toBe("committed");
        expect(readdirSync(site.mountpoint)).toEqual([]);
      });
    });

    test("an archive may lie at the top of the mountpoint, beside lost+found", async () => {
      using mount = loopMount("ext4", 32 * MiB);
      using site = receiverSite(mount.path);
      const source = sourceArchive(site, [randomImage(4)]);
      await using client = site.start();
      await client.hello(site.mountpoint, "");
      expect(await client.listPending()).toEqual([]);
      await sendState(client, source.path, 1);
      expect((await client.goodbye()).exitCode).toBe(0);
      expect(readdirSync(site.mountpoint).sort()).toEqual(
        ["README.txt", "archive", "copies", "heads", "lock", "lost+found", "work"].sort(),
      );
      expect(readFileSync(join(site.mountpoint, "heads", "1")).length).toBeGreaterThan(100);
    });
  },
);
