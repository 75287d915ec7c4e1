// Runs that were cut short: what they leave can be found and removed, never blocks the next run, and is never anything
// that was committed.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import { type CommittedSite, committedSite } from "../committed-site.ts";
import { begin, putIndex, putMeta, sendChunks, sendSession, sendState, sourceState } from "../replay.ts";
import { archiveDirectory } from "../site.ts";

test("a volume whose index is lost with its copy keeps nobody from listing what others have left", async () => {
  using site = await committedSite();
  const { name, uid } = site.session.container;
  {
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await begin(client, site.session);
    await sendChunks(client, site.session, 3);
    client.child.kill("SIGKILL");
    await client.ended;
  }
  for (const path of ["work/index.1", "copies/work/index.1"]) writeFileSync(join(site.archive, path), "rot");
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  expect(await client.listPending()).toMatchObject([{ name, finished: false, session: uid }]);
});

const committed = (site: CommittedSite): string =>
  execFileSync(
    "bash",
    ["-c", "find heads/1 archive work/index.1 work/S_20261123-101500* -type f | sort | xargs sha256sum"],
    {
      cwd: site.archive,
      encoding: "utf8",
    },
  );

/** How far a run gets before it is killed. */
const points: Record<string, (client: AgentClient, site: CommittedSite) => Promise<void>> = {
  "after the hello": async () => {},
  "after beginSession": async (client, { session }) => begin(client, session),
  "between chunks": async (client, { session }) => {
    await begin(client, session);
    await sendChunks(client, session, 5);
  },
  "in a manifest": async (client, { session }) => {
    await begin(client, session);
    await sendChunks(client, session);
    const { manifestBytes, of, container, begin: begun } = session;
    await client.send("put", {
      name: { kind: "manifest", volume: of.volume, session: container.uid, generation: begun.generation },
      length: manifestBytes.length,
      digest: manifestBytes.slice(-32) as never,
    });
    await client.send("part", { bytes: manifestBytes.subarray(0, 100) });
  },
  "while it ends the session": async (client, { session }) => {
    await begin(client, session);
    await sendChunks(client, session);
    await putMeta(client, session);
    await client.send("endSession", session.end);
  },
  "after the session": async (client, { session }) => sendSession(client, session),
  "after the index": async (client, { session }) => {
    await sendSession(client, session);
    await putIndex(client, session);
  },
  "after the head was put": async (client, { session, second }) => {
    await sendSession(client, session);
    await putIndex(client, session);
    await client.put({ kind: "head", generation: second.head.generation }, second.headBytes);
  },
};

describe.each(["dir", "tar"] as const)("killed, writing a %s,", (form) => {
  test.each(Object.keys(points))("%s: the next run clears up and succeeds", async (point) => {
    using site = await committedSite(form);
    const before = committed(site);
    {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await points[point]!(client, site);
      client.child.kill("SIGKILL");
      expect((await client.ended).signal).toBe("SIGKILL");
    }
    expect(committed(site)).toBe(before);
    await using client = site.start();
    expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
    for (const { directory, session } of await client.listPending()) {
      expect(session).toEqual(site.session.container.uid);
      await client.ask("discard", { directory, session }, "done");
    }
    expect(await client.listPending()).toEqual([]);
    await sendState(client, site.source, 2);
    expect((await client.goodbye()).exitCode).toBe(0);
    expect(committed(site)).toBe(before);
    const names = readdirSync(join(site.archive, "work")).sort();
    const suffix = form === "tar" ? ".tar" : "";
    expect(names).toEqual([
      `S_20261123-101500${suffix}`,
      `S_20261123-111500${suffix}`,
      "archive",
      "index.1",
      "index.2",
    ]);
  });
});

test("what a kill leaves of files that never got their names is swept up, and nothing else", async () => {
  using site = await committedSite();
  const before = committed(site);
  const left = [
    ".tmp-probe",
    ".tmp-readme",
    ".tmp-archive",
    "heads/.tmp-head",
    "work/.tmp-index",
    "work/.tmp-archive",
  ];
  for (const name of left) writeFileSync(join(site.archive, name), "half");
  mkdirSync(join(site.archive, "work", ".tmp-part"));
  writeFileSync(join(site.archive, "work", ".tmp-part", "pending"), "half");
  mkdirSync(join(site.archive, "Photos"));
  const mine = [".tmp-mine", "Photos/.tmp-index", "work/.tmp-other"];
  for (const name of mine) writeFileSync(join(site.archive, name), "mine");
  {
    await using reader = site.start("sparsebak.Receive");
    await reader.hello(site.mountpoint, archiveDirectory);
    for (const name of left) expect(existsSync(join(site.archive, name))).toBe(true);
  }
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  for (const name of [...left, "work/.tmp-part"])
    expect(existsSync(join(site.archive, name)), name).toBe(false);
  for (const name of mine) expect(existsSync(join(site.archive, name)), name).toBe(true);
  expect(committed(site)).toBe(before);
});

describe("discard", () => {
  test("never removes what is committed, nor what it does not know", async () => {
    using site = await committedSite();
    const before = committed(site);
    const first = sourceState(site.source, 1).sessions[0]!;
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    for (const [directory, session] of [
      ["work", first.container.uid],
      ["work", new Uint8Array(16).fill(3) as SessionUid],
      ["nowhere", first.container.uid],
    ] as const) {
      expect(await client.ask("discard", { directory, session }, "refused")).toMatchObject({
        body: { code: "missing" },
      });
    }
    expect(committed(site)).toBe(before);
  });

  test("does not remove a session in whose directory something else lies", async () => {
    using site = await committedSite();
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendSession(client, site.session);
    const session = join(site.archive, "work", site.session.begin.name);
    mkdirSync(join(session, "holiday"));
    const uid = site.session.container.uid;
    expect(await client.ask("discard", { directory: "work", session: uid }, "refused")).toMatchObject({
      body: { code: "not-allowed" },
    });
    expect(
      readdirSync(join(site.archive, "work")).some((name) => name.startsWith(site.session.begin.name)),
    ).toBe(true);
  });

  test("removes a part whose record is damaged, under the uid of zeros", async () => {
    using site = await committedSite();
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    const part = join(site.archive, "work", "S_20261123-120000.part");
    mkdirSync(part);
    writeFileSync(join(part, "pending"), "nonsense");
    const [found] = await client.listPending();
    expect(found).toMatchObject({ directory: "work", finished: false, session: new Uint8Array(16) });
    await client.ask("discard", { directory: "work", session: found!.session }, "done");
    expect(existsSync(part)).toBe(false);
  });
});

describe("one writer at a time", () => {
  test("a second sender is refused while the first holds the archive, and served when it is gone", async () => {
    using site = await committedSite();
    await using first = site.start();
    await first.hello(site.mountpoint, archiveDirectory);
    for (const service of ["sparsebak.Send", "sparsebak.Prune"] as const) {
      await using second = site.start(service);
      await second.send("agentHello", {
        service,
        mountpoint: site.mountpoint,
        directory: archiveDirectory,
        archive: site.second.head.archive,
      });
      expect(await second.next()).toMatchObject({ type: "refused", body: { code: "busy" } });
      expect((await second.ended).exitCode).toBe(1);
    }
    await using reader = site.start("sparsebak.Receive");
    expect(await reader.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
    first.child.kill("SIGKILL");
    await first.ended;
    await using third = site.start();
    expect(await third.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
  });
});

describe("told to stop", () => {
  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const)("by %s: it says so in band and lets go of the archive", async (signal, exitCode) => {
    using site = await committedSite();
    {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await begin(client, site.session);
      await sendChunks(client, site.session, 3);
      client.child.kill(signal);
      expect(await client.next()).toMatchObject({ type: "aborted", body: { code: "stopped" } });
      expect((await client.ended).exitCode).toBe(exitCode);
    }
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    expect(await client.listPending()).toHaveLength(1);
  });

  test("a caller that goes away without a goodbye leaves its session for the next run", async () => {
    using site = await committedSite();
    {
      await using client = site.start();
      await client.hello(site.mountpoint, archiveDirectory);
      await begin(client, site.session);
      await sendChunks(client, site.session, 3);
      client.end();
      expect(await client.ended).toMatchObject({ exitCode: 1, signal: null });
    }
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    expect(await client.listPending()).toMatchObject([
      { finished: false, form: "dir", name: site.session.begin.name },
    ]);
  });
});

test("a quiet sender is told every second that the receiver lives", async () => {
  using site = await committedSite();
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await begin(client, site.session);
  await sendChunks(client, site.session, 3);
  while (client.progress.length < 2) await sleep(50);
  expect(client.progress.at(-1)).toMatchObject({ chunks: site.session.entries.length });
  expect((await client.ask("endSession", site.session.end, "refused")).type).toBe("refused");
});
