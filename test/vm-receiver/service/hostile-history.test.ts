// A caller that may only send tries to rewrite history: to replace, shorten or remove what is committed, one way after
// the other. Whatever it tries, every file of the committed states stays, byte for byte (design section 8); and what
// lies outside of the archive is not read for it either.

import { cpSync, existsSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeArchiveHeader, encodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  Digest,
  Generation,
  SessionUid,
  VolumeId,
} from "../../../protocol/archive/types.ts";
import type { Messages, MetaName } from "../../../protocol/wire/messages.ts";
import { type AgentClient, metaName, noUuid } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { bytesOf, sendState, type SourceState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

interface Committed extends ReceiverSite {
  readonly first: SourceState;
  readonly second: SourceState;
}

/** Two states, committed. */
async function committedSite(form: "dir" | "tar" = "dir"): Promise<Committed> {
  const site = receiverSite();
  const image = randomImage(8);
  const next = image.slice();
  next.fill(3, 0, 200_000);
  const source = sourceArchive(site, [image, next], form);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory);
  for (const state of [1, 2]) await sendState(client, source.path, state);
  await client.goodbye();
  return { ...site, first: sourceState(source.path, 1), second: sourceState(source.path, 2) };
}

/** Announces a file and says all of it; gives the answer. */
async function putting(client: AgentClient, name: Partial<MetaName>, bytes: Uint8Array): Promise<string> {
  const digest = bytes.slice(-32) as Digest;
  await client.send("put", { name: metaName(name as MetaName), length: bytes.length, digest });
  // It may have been refused before the bytes come: then the call is over.
  await client.send("part", { bytes });
  return answerOf(client);
}

async function asking<Name extends "commit" | "discard" | "salvage" | "beginSession">(
  client: AgentClient,
  type: Name,
  body: Messages[Name],
): Promise<string> {
  await client.send(type, body);
  return answerOf(client);
}

/** `refused` or `aborted` with its code, or what else was answered. */
async function answerOf(client: AgentClient): Promise<string> {
  const { type, body } = await client.next();
  return type === "refused" || type === "aborted" ? body.code : type;
}

type Attempt = (client: AgentClient, site: Committed) => Promise<string>;
const at = (generation: number): Generation => generation as Generation;
const ofSession = (site: Committed): { volume: VolumeId; session: SessionUid } => {
  const session = site.first.sessions[0];
  if (session === undefined) throw new Error("no session");
  return { volume: session.of.volume, session: session.container.uid };
};
const sessionOf = (site: Committed): SourceState["sessions"][0] => {
  const session = site.first.sessions[0];
  if (session === undefined) throw new Error("no session");
  return session;
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
    using site = await committedSite(form);
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
  using site = await committedSite();
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

describe("a caller that names another directory than the archive's own", () => {
  const directories: Readonly<Record<string, (session: string) => string>> = {
    "the one around it": () => "",
    "a volume's": () => "backups/work",
    "its heads": () => "backups/heads",
    "a session's": (session) => `backups/work/${session}`,
    "a group of chunks": (session) => `backups/work/${session}/000000000`,
    "a new one": () => "backups/new",
    "a new one below a new one": () => "backups/images/new",
  };
  test.each(Object.entries(directories))("%s", async (_, directoryOf) => {
    using site = await committedSite();
    const before = contentsOf(site.mountpoint);
    const own = decodeArchiveHeader(bytesOf(join(site.archive, "archive")));
    const directory = directoryOf(sessionOf(site).begin.name);
    const others = [own.uuid, new Uint8Array(16).fill(5) as ArchiveUuid];
    const answers: string[] = [];
    for (const service of ["sparsebak.Send", "sparsebak.Prune"] as const) {
      for (const uuid of others) {
        await using client = site.start(service);
        const { mountpoint } = site;
        await client.send("agentHello", { service, mountpoint, directory, archive: uuid });
        const answer = await answerOf(client);
        answers.push(answer);
        if (answer === "receiverHello") {
          const bytes = encodeArchiveHeader({ ...own, uuid, createdAt: 1, slots: [] });
          answers.push(await putting(client, { kind: "archive" }, bytes));
        }
      }
    }
    expect(contentsOf(site.mountpoint)).toEqual(before);
    expect(answers.slice(0, 2)).toEqual(["exists", "exists"]);
  });

  test("makes none where another archive's files lie, its heads and README.txt being lost", async () => {
    using site = await committedSite();
    for (const name of ["heads", "copies", "README.txt"])
      rmSync(join(site.archive, name), { recursive: true });
    const own = decodeArchiveHeader(bytesOf(join(site.archive, "archive")));
    const bytes = encodeArchiveHeader({ ...own, uuid: new Uint8Array(16).fill(5) as ArchiveUuid });
    const before = contentsOf(site.mountpoint);
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    expect(await putting(client, { kind: "archive" }, bytes)).toBe("exists");
    await client.goodbye();
    await using last = site.start();
    await last.hello(site.mountpoint, archiveDirectory);
    expect(contentsOf(site.mountpoint)).toEqual(before);
  });

  test("makes none in a volume's, though that was opened before it was one", async () => {
    using site = receiverSite();
    const source = sourceArchive(site, [randomImage(8)]);
    await using early = site.start();
    await early.hello(site.mountpoint, `${archiveDirectory}/work`);
    const header = bytesOf(join(source.path, "archive"));
    await early.put({ kind: "archive" }, header);
    rmSync(join(site.archive, "work", "lock"));
    await using client = site.start();
    await client.hello(site.mountpoint, archiveDirectory);
    await sendState(client, source.path, 1);
    await client.goodbye();
    const before = contentsOf(site.archive);
    expect(await putting(early, { kind: "archive" }, header)).toBe("exists");
    expect(contentsOf(site.archive)).toMatchObject(before);
  });

  test("an archive with another one around it, or inside, is used as ever", async () => {
    using site = await committedSite();
    cpSync(site.archive, join(site.path, "copy"), { recursive: true });
    renameSync(join(site.path, "copy"), join(site.archive, "old copy"));
    for (const directory of [archiveDirectory, `${archiveDirectory}/old copy`]) {
      await using client = site.start();
      expect(await client.hello(site.mountpoint, directory)).toMatchObject({ generation: 2 });
      await client.goodbye();
    }
  });
});

test("an archive's second copies are not taken for an archive", async () => {
  using site = await committedSite();
  for (const service of ["sparsebak.Send", "sparsebak.Prune"] as const) {
    await using client = site.start(service);
    const directory = `${archiveDirectory}/copies`;
    await client.send("agentHello", { service, mountpoint: site.mountpoint, directory, archive: noUuid });
    expect(await answerOf(client)).toBe("not-allowed");
  }
  expect(readdirSync(join(site.archive, "copies")).toSorted()).toEqual(["heads", "work"]);
});

test("a lost header is put back by what may prune, and only as the head names it", async () => {
  using site = await committedSite();
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
      using site = await committedSite();
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
