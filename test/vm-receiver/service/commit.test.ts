// The only commit: it is made from the state that the caller knows, adds and never removes, and names only what is there.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chainOf, encodeHead, type Head, type HeadVolume } from "../../../protocol/archive/head.ts";
import { encodeIndex, type VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { fileDigest } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { RefusalError } from "../../../vm-receiver/errors.ts";
import { commit as commitHead } from "../../../vm-receiver/service/commit.ts";
import { putFile } from "../../../vm-receiver/service/put-file.ts";
import { openArchive } from "../../../vm-receiver/store/archive.ts";
import { type AgentClient, metaName } from "../../support/agent-client.ts";
import { type CommittedSite, committedSite } from "../committed-site.ts";
import {
  bytesOf,
  commit,
  putIndex,
  sendSession,
  sendState,
  type SourceSession,
  type SourceState,
} from "../replay.ts";
import { archiveDirectory, type ReceiverSite } from "../site.ts";

const heads = (site: ReceiverSite): string[] =>
  readdirSync(join(site.archive, "heads")).filter((name) => !name.startsWith("."));

/** The second head with something changed, and what follows from that. */
function altered(second: SourceState, change: Partial<Head>): { bytes: Uint8Array; digest: Digest } {
  const head = { ...second.head, ...change };
  const chain = chainOf(head.archive, head.generation, head.previousChain, head);
  const bytes = encodeHead({ ...head, chain });
  return { bytes, digest: fileDigest(bytes) };
}

async function tryCommit(
  client: AgentClient,
  second: SourceState,
  { bytes, digest }: { bytes: Uint8Array; digest: Digest },
  change: object = {},
): Promise<unknown> {
  await client.put({ kind: "head", generation: 2 as Generation }, bytes);
  await client.send("commit", { ...second.commit, headDigest: digest, ...change });
  const answer = await client.next();
  return answer.type === "refused" ? answer.body.code : answer.type;
}

test("a commit needs no second copies: where they can't be made it is one all the same", async () => {
  using site = await committedSite();
  rmSync(join(site.archive, "copies"), { recursive: true });
  mkdirSync(join(site.archive, "copies"));
  writeFileSync(join(site.archive, "copies", "work"), "mine");
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await client.listPending();
  await sendState(client, site.source, 2);
  await client.goodbye();
  expect(heads(site)).toEqual(["1", "2"]);
  expect(readdirSync(join(site.archive, "copies", "heads"))).toEqual(["2"]);
});

test("once a head has its name, nothing that it names can be put again, whatever fails then", async () => {
  using site = await committedSite();
  const { second, session } = site;
  {
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendSession(client, session);
    await putIndex(client, session);
    await client.goodbye();
  }
  using archive = openArchive(openAbsolute(site.archive));
  writeFileSync(join(site.archive, "heads", ".tmp-head"), second.headBytes);
  const memory = { begun: new Map<string, string>(), headPut: second.commit.headDigest };
  let asked = 0;
  const unmounted = (): void => {
    asked++;
    if (asked === 2) throw new RefusalError("not-mounted", "gone");
  };
  await expect(commitHead(archive, memory, second.commit, "add", unmounted)).rejects.toThrow("gone");
  expect(heads(site)).toEqual(["1", "2"]);
  const name = metaName({ kind: "index", volume: session.of.volume, generation: 2 as Generation });
  const announced = { name, length: session.indexBytes.length, digest: fileDigest(session.indexBytes) };
  const space = { freeBytes: 1e9, totalBytes: 1e9, freeInodes: 0, totalInodes: 0 };
  expect(() => putFile(archive, memory, announced, "add", () => space)).toThrow(
    "a file for head 2, wanted 3",
  );
});

describe("refused, and nothing is committed:", () => {
  const cases: Record<string, (site: CommittedSite, client: AgentClient) => Promise<unknown>> = {
    "stale: another generation": async ({ second }, client) =>
      tryCommit(client, second, altered(second, {}), { base: 0 }),
    "stale: another digest of the base": async ({ second }, client) =>
      tryCommit(client, second, altered(second, {}), { baseDigest: new Uint8Array(32) }),
    "missing: a head that was never put": async ({ second }, client) => {
      await client.send("commit", second.commit);
      const answer = await client.next();
      return answer.type === "refused" && answer.body.code;
    },
    "missing: another head than the one that was put": async ({ second }, client) =>
      tryCommit(client, second, altered(second, {}), { headDigest: new Uint8Array(32) }),
    "malformed: a chain that does not follow": async ({ second }, client) =>
      tryCommit(client, second, altered(second, { previousChain: new Uint8Array(32).fill(1) as Digest })),
    "malformed: a log that does not carry on": async ({ second }, client) =>
      tryCommit(client, second, altered(second, { log: new Uint8Array(2 * 8) })),
    "malformed: another archive header": async ({ second }, client) =>
      tryCommit(client, second, altered(second, { archiveDigest: new Uint8Array(32) as Digest })),
    "malformed: a volume that has gone": async ({ second }, client) =>
      tryCommit(client, second, altered(second, { volumes: [] })),
    "malformed: a volume in another directory": async ({ second }, client) =>
      tryCommit(
        client,
        second,
        altered(second, { volumes: second.head.volumes.map((each) => ({ ...each, directory: "moved" })) }),
      ),
    "malformed: an index with another digest": async ({ second }, client) =>
      tryCommit(
        client,
        second,
        altered(second, {
          volumes: second.head.volumes.map((each) => ({
            ...each,
            indexDigest: new Uint8Array(32) as Digest,
          })),
        }),
      ),
    "missing: a volume that nobody sent": async ({ second }, client) =>
      tryCommit(
        client,
        second,
        altered(second, {
          volumes: [
            ...second.head.volumes,
            { ...second.head.volumes[0]!, volume: new Uint8Array(16).fill(255) as never, directory: "never" },
          ],
        }),
      ),
    "malformed: a session that has gone": async ({ second, session }, client) =>
      commitIndex(client, second, session, (index) => ({
        ...index,
        containers: index.containers.slice(1),
        sessions: index.sessions.slice(1),
      })),
    "malformed: a session that is another now": async ({ second, session }, client) =>
      commitIndex(client, second, session, (index) => ({
        ...index,
        containers: index.containers.map((each, i) =>
          i === 0 ? { ...each, headerDigest: new Uint8Array(32).fill(9) as Digest } : each,
        ),
      })),
    "malformed: a session with another list": async ({ second, session }, client) =>
      commitIndex(client, second, session, (index) => ({
        ...index,
        containers: index.containers.map((each, i) =>
          i === 1 ? { ...each, listDigest: new Uint8Array(32) as Digest } : each,
        ),
      })),
  };

  test.each(Object.keys(cases))("%s", async (name) => {
    using site = await committedSite();
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendSession(client, site.session);
    await putIndex(client, site.session);
    expect(await cases[name]!(site, client)).toBe(name.split(":")[0]);
    expect(heads(site)).toEqual(["1"]);
    // The refusal is not the end: what is right is committed in the same call.
    await putIndex(client, site.session);
    await commit(client, site.second);
    expect(heads(site).sort()).toEqual(["1", "2"]);
    expect((await client.goodbye()).exitCode).toBe(0);
  });
});

async function commitIndex(
  client: AgentClient,
  second: SourceState,
  session: SourceSession,
  change: (index: VolumeIndex) => VolumeIndex,
): Promise<unknown> {
  const bytes = encodeIndex(change(session.index));
  const { volume } = session.of;
  await client.put({ kind: "index", volume, generation: 2 as Generation }, bytes);
  const volumes: readonly HeadVolume[] = second.head.volumes.map((each) => ({
    ...each,
    indexDigest: fileDigest(bytes),
  }));
  return tryCommit(client, second, altered(second, { volumes }));
}

describe.each(["dir", "tar"] as const)("a session that is not all there (%s)", (form) => {
  const damage: Record<string, readonly [string, (session: string) => void]> = {
    "is gone": ["missing", (session) => rmSync(session, { recursive: true })],
    "has lost its manifest's end": [
      "corrupt",
      (session) =>
        truncateSync(form === "dir" ? join(session, "manifest.2") : session, form === "dir" ? 200 : 8192),
    ],
  };
  test.each(Object.keys(damage))("%s", async (name) => {
    using site = await committedSite(form);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendSession(client, site.session);
    await putIndex(client, site.session);
    const [code, break_] = damage[name]!;
    break_(join(site.archive, "work", site.session.begin.name + (form === "tar" ? ".tar" : "")));
    const answer = await tryCommit(client, site.second, altered(site.second, {}));
    expect(form === "tar" ? ["missing", "corrupt"] : [code]).toContain(answer);
    expect(heads(site)).toEqual(["1"]);
  });
});

test("a session that was finished in one call can be committed in the next", async () => {
  using site = await committedSite();
  {
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendSession(client, site.session);
    client.end();
    expect((await client.ended).exitCode).toBe(1);
  }
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  expect(await client.listPending()).toMatchObject([
    { directory: "work", finished: true, session: site.session.container.uid },
  ]);
  await putIndex(client, site.session);
  expect(await commit(client, site.second)).toMatchObject({ generation: 2 });
  expect(await client.listPending()).toEqual([]);
});

test("the index of an attempt that was not committed gives way to the next one", async () => {
  using site = await committedSite();
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  await sendSession(client, site.session);
  writeFileSync(join(site.archive, "work", "index.2"), "left over");
  await putIndex(client, site.session);
  await commit(client, site.second);
  expect(bytesOf(join(site.archive, "work", "index.2"))).toEqual(site.session.indexBytes);
});

test("a head that was half written is no head, and one that is damaged is said to be", async () => {
  using site = await committedSite();
  writeFileSync(
    join(site.archive, "heads", ".tmp-head"),
    bytesOf(join(site.source, "heads", "2")).subarray(0, 90),
  );
  {
    await using client = site.start();
    expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
  }
  writeFileSync(join(site.archive, "heads", "2"), bytesOf(join(site.source, "heads", "2")).subarray(0, 90));
  for (const service of ["sparsebak.Send", "sparsebak.Receive"] as const) {
    await using client = site.start(service);
    await client.send("agentHello", {
      service,
      mountpoint: site.mountpoint,
      directory: archiveDirectory,
      archive: site.second.head.archive,
    });
    const answer = await client.next();
    expect(answer).toMatchObject({ type: "refused", body: { code: "corrupt" } });
    expect((answer.body as { reason: string }).reason).toContain("head");
  }
});

test("heads that are gone are not taken for a new archive", async () => {
  using site = await committedSite();
  rmSync(join(site.archive, "heads"), { recursive: true });
  {
    await using client = site.start("sparsebak.Receive");
    const hello = await client.hello(site.mountpoint, archiveDirectory);
    expect(hello.generation).toBe(1);
    await client.goodbye();
  }
  rmSync(join(site.archive, "copies"), { recursive: true });
  await using client = site.start();
  await client.send("agentHello", {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: archiveDirectory,
    archive: site.second.head.archive,
  });
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "corrupt" } });
  expect(existsSync(join(site.archive, "work", "index.1"))).toBe(true);
});

test("what stands in the place of second copies, damaged or no copies at all, is in nobody's way", async () => {
  using site = await committedSite();
  const copies = join(site.archive, "copies");
  const hello = async (): Promise<void> => {
    await using client = site.start();
    expect(await client.hello(site.mountpoint, archiveDirectory)).toMatchObject({ generation: 1 });
    await client.listPending();
    await client.goodbye();
  };
  writeFileSync(join(copies, "heads", "1"), "rot");
  await hello();
  expect(bytesOf(join(copies, "heads", "1"))).toEqual(bytesOf(join(site.archive, "heads", "1")));
  rmSync(join(copies, "heads"), { recursive: true });
  symlinkSync(join(site.archive, "heads"), join(copies, "heads"));
  await hello();
  rmSync(copies, { recursive: true });
  writeFileSync(copies, "mine");
  await hello();
  expect(readFileSync(copies, "utf8")).toBe("mine");
});
