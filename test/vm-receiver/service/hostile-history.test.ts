// A caller that may only send tries to rewrite history: to replace, shorten or remove what is committed, one way after
// the other. Whatever it tries, every file of the committed states stays, byte for byte (design section 8); and what
// lies outside of the archive is not read for it either.

import { cpSync, existsSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeArchiveHeader, encodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import type { ChunkAddress, Generation, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import type { Messages, MetaName } from "../../../protocol/wire/messages.ts";
import { type AgentClient, metaName, noUuid } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { answerOf, type HistorySite, historySite, putting, sessionOf } from "../history-site.ts";
import { bytesOf } from "../replay.ts";
import { archiveDirectory } from "../site.ts";

async function asking<Name extends "commit" | "discard" | "salvage" | "beginSession">(
  client: AgentClient,
  type: Name,
  body: Messages[Name],
): Promise<string> {
  await client.send(type, body);
  return answerOf(client);
}

type Attempt = (client: AgentClient, site: HistorySite) => Promise<string>;
const at = (generation: number): Generation => generation as Generation;
const ofSession = (site: HistorySite): { volume: VolumeId; session: SessionUid } => {
  const { of, container } = sessionOf(site);
  return { volume: of.volume, session: container.uid };
};

const attempts: Readonly<Record<string, Attempt>> = {
  "puts the current head again": async (client, { second }) =>
    putting(client, { kind: "head", generation: at(2) }, second.headBytes),
  "puts the head before": async (client, { first }) =>
    putting(client, { kind: "head", generation: at(1) }, first.headBytes),
  "puts a head of the far future": async (client, { second }) =>
    putting(client, { kind: "head", generation: at(9) }, second.headBytes),
  "puts the index that counts again": async (client, site) => {
    const { volume } = ofSession(site);
    return putting(client, { kind: "index", volume, generation: at(2) }, sessionOf(site).indexBytes);
  },
  "puts the archive's header": async (client, site) =>
    putting(client, { kind: "archive" }, bytesOf(join(site.archive, "archive"))),
  "puts a later header": async (client, site) =>
    putting(client, { kind: "archive", generation: at(3) }, bytesOf(join(site.archive, "archive"))),
  "puts the manifest of a session that is committed": async (client, site) =>
    putting(
      client,
      { kind: "manifest", ...ofSession(site), generation: at(1) },
      sessionOf(site).manifestBytes,
    ),
  "puts a later manifest of it": async (client, site) =>
    putting(
      client,
      { kind: "manifest", ...ofSession(site), generation: at(3) },
      sessionOf(site).manifestBytes,
    ),
  "puts its header": async (client, site) =>
    putting(client, { kind: "header", ...ofSession(site), generation: at(1) }, sessionOf(site).headerBytes),
  "puts its list": async (client, site) =>
    putting(client, { kind: "list", ...ofSession(site), generation: at(3) }, sessionOf(site).listBytes),
  "puts a list of what is dead": async (client, site) =>
    putting(client, { kind: "dead", generation: at(3) }, sessionOf(site).listBytes),
  "commits the current head again": async (client, { second }) => asking(client, "commit", second.commit),
  "commits the head before": async (client, { first }) => asking(client, "commit", first.commit),
  "discards a session that is committed": async (client, site) =>
    asking(client, "discard", { directory: "work", session: ofSession(site).session }),
  "discards what has no uid": async (client) =>
    asking(client, "discard", { directory: "work", session: new Uint8Array(16) as SessionUid }),
  "salvages a session that is committed": async (client, site) =>
    asking(client, "salvage", { directory: "work", session: ofSession(site).session }),
  "begins a session that is committed anew": async (client, site) =>
    asking(client, "beginSession", { ...sessionOf(site).begin, generation: at(3) }),
  "begins its tar": async (client, site) =>
    asking(client, "beginSession", { ...sessionOf(site).begin, generation: at(3), form: "tar" }),
};

describe.each(["dir", "tar"] as const)("a caller that may only send (%s)", (form) => {
  test("tries everything, and every committed file stays as it was", async () => {
    using site = await historySite(form);
    const before = contentsOf(site.archive);
    const answers: Record<string, string> = {};
    let client: AgentClient | undefined;
    for (const [name, attempt] of Object.entries(attempts)) {
      if (client === undefined) {
        client = site.start();
        await client.hello(site.mountpoint, archiveDirectory);
      }
      answers[name] = await attempt(client, site);
      expect(contentsOf(site.archive), name).toMatchObject(before);
      if (client.order.state === "ready") continue;
      await client[Symbol.asyncDispose]();
      client = undefined;
    }
    await client?.[Symbol.asyncDispose]();
    const taken = Object.entries(answers).filter(([, answer]) =>
      ["done", "committed", "data", "internal"].includes(answer),
    );
    expect(taken).toEqual([]);
    // And nothing of it is left behind by the next hello.
    await using last = site.start();
    await last.hello(site.mountpoint, archiveDirectory);
    expect(await last.listPending()).toEqual([]);
    expect(contentsOf(site.archive)).toEqual(before);
  });
});

test("a session under the uid of a committed one is discarded without it", async () => {
  using site = await historySite();
  const before = contentsOf(site.archive);
  const { begin, container } = sessionOf(site);
  const name = "S_20300101-000000" as Messages["beginSession"]["name"];
  {
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await client.send("beginSession", { ...begin, generation: at(3), name });
    await answerOf(client);
  }
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  for (const { directory, session } of await client.listPending()) {
    expect(session).toEqual(container.uid);
    expect(await asking(client, "discard", { directory, session })).toBe("done");
  }
  expect(contentsOf(site.archive)).toEqual(before);
});

test("a lost header is put back by what may prune, and only as the head names it", async () => {
  using site = await historySite();
  const path = join(site.archive, "archive");
  const whole = bytesOf(path);
  const before = contentsOf(site.archive);
  const other = encodeArchiveHeader({ ...decodeArchiveHeader(whole), createdAt: 1 });
  const attempt = async (
    service: "sparsebak.Send" | "sparsebak.Prune",
    bytes: Uint8Array,
  ): Promise<string> => {
    await using client = site.start(service);
    const { mountpoint } = site;
    await client.send("agentHello", { service, mountpoint, directory: archiveDirectory, archive: noUuid });
    const answer = await answerOf(client);
    return answer === "receiverHello" ? await putting(client, { kind: "archive" }, bytes) : answer;
  };
  expect(await attempt("sparsebak.Prune", whole)).toBe("exists");
  for (const damaged of [undefined, other, whole.slice(0, 80)]) {
    if (damaged === undefined) rmSync(path);
    else writeFileSync(path, damaged);
    expect(["corrupt", "exists"]).toContain(await attempt("sparsebak.Send", whole));
    expect(await attempt("sparsebak.Prune", other)).toBe("malformed");
    expect(existsSync(path) ? bytesOf(path) : undefined).toEqual(damaged);
    expect(await attempt("sparsebak.Prune", whole)).toBe("done");
    expect(contentsOf(site.archive)).toEqual(before);
  }
});

describe("a drive that was prepared", () => {
  test.each(["sparsebak.Send", "sparsebak.Receive"] as const)(
    "%s reads nothing through a symbolic link",
    async (service) => {
      using site = await historySite();
      const work = join(site.archive, "work");
      const [name = ""] = readdirSync(work).filter((each) => each.startsWith("S_"));
      const outside = join(site.path, "outside");
      cpSync(work, outside, { recursive: true });
      renameSync(join(work, name), join(site.path, "moved"));
      symlinkSync(join(outside, name), join(work, name));
      rmSync(join(work, "index.1"));
      symlinkSync(join(outside, "index.1"), join(work, "index.1"));
      await using client = site.start(service);
      await client.hello(site.mountpoint, archiveDirectory);
      const { volume, session } = ofSession(site);
      const read = async (wanted: Partial<MetaName>): Promise<string> => {
        await client.send("readMeta", metaName({ volume, ...wanted } as MetaName));
        return answerOf(client);
      };
      expect(["missing", "corrupt", "not-allowed", "io"]).toContain(
        await read({ kind: "manifest", session, generation: at(1) }),
      );
      expect(["missing", "corrupt", "not-allowed", "io"]).toContain(await read({ kind: "header", session }));
      expect(["missing", "corrupt", "not-allowed", "io"]).toContain(
        await read({ kind: "index", generation: at(1) }),
      );
      if (service === "sparsebak.Send") return;
      await client.send("readChunks", { volume, session, addresses: [0 as ChunkAddress] });
      expect(["missing", "corrupt", "not-allowed", "io"]).toContain(await answerOf(client));
    },
  );
});
