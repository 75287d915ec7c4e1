// A commit is made from the state that the caller knows, adds and never removes, and names only what is there: all else is
// refused, and nothing is committed.

import { rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chainOf, encodeHead, type Head, type HeadVolume } from "../../../protocol/archive/head.ts";
import { encodeIndex, type VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { fileDigest } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import { type CommittedSite, committedSite } from "../committed-site.ts";
import { commit, headsOf, putIndex, sendSession, type SourceSession, type SourceState } from "../replay.ts";
import { archiveDirectory } from "../site.ts";

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
    expect(headsOf(site.archive)).toEqual(["1"]);
    // The refusal is not the end: what is right is committed in the same call.
    await putIndex(client, site.session);
    await commit(client, site.second);
    expect(headsOf(site.archive).sort()).toEqual(["1", "2"]);
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
    expect(headsOf(site.archive)).toEqual(["1"]);
  });
});
