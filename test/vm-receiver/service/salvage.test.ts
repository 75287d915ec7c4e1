// What an interrupted session has stored becomes a container without a session: only what reads back as it was, under the
// name that it had, whole whenever the receiver is killed; and an index may name it (protocol.md, "Sessions").

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chainOf, encodeHead } from "../../../protocol/archive/head.ts";
import { type Container, encodeIndex } from "../../../protocol/archive/index-file.ts";
import { decodeList, type ListEntry } from "../../../protocol/archive/list-file.ts";
import { chunkPath } from "../../../protocol/archive/names.ts";
import { fileDigest, sha256 } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation, SessionUid } from "../../../protocol/archive/types.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import { flipAt } from "../../support/damage.ts";
import { scrubbed } from "../../support/scrubbed.ts";
import { countedChanges, startMortal } from "../mortal.ts";
import {
  begin,
  bytesOf,
  putIndex,
  sendChunks,
  sendSession,
  sendState,
  type SourceSession,
  type SourceState,
  sourceState,
} from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

interface Prepared extends ReceiverSite {
  readonly second: SourceState;
  readonly session: SourceSession;
}

/** A site with one committed state; of the second, `chunks` have been sent when the receiver is killed. */
async function interrupted(form: "dir" | "tar", chunks?: number): Promise<Prepared> {
  const site = receiverSite();
  const source = sourceArchive(site, [randomImage(4), randomImage(40)], form);
  const second = sourceState(source.path, 2);
  const session = second.sessions[0]!;
  await using client = site.start("sparsebak.Send");
  await client.hello(site.mountpoint, archiveDirectory);
  await sendState(client, source.path, 1);
  if (chunks === undefined) {
    await sendSession(client, session);
  } else {
    await begin(client, session);
    await sendChunks(client, session, chunks);
    // Progress says what has been stored.
    while (client.progress.at(-1)?.chunks !== chunks) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.child.kill("SIGKILL");
  await client.ended;
  return { ...site, second, session };
}

async function connected(site: ReceiverSite): Promise<AgentClient> {
  const client = site.start("sparsebak.Send");
  await client.hello(site.mountpoint, archiveDirectory);
  return client;
}

/** Addresses, lengths and checksums of what was sent. */
const sent = (session: SourceSession, count?: number): readonly ListEntry[] =>
  session.entries.slice(0, count);
const partOf = (site: Prepared): string => {
  const { name, form } = site.session.container;
  return join(site.archive, "work", `${name}${form === "tar" ? ".tar" : ""}.part`);
};
const chunkFile = (site: Prepared, i: number): string => {
  const { group, file } = chunkPath(site.session.entries[i]!.address);
  return join(partOf(site), group, file);
};

/** Commits an index with one container more than the archive has, and no session more. */
async function commitContainer(client: AgentClient, site: Prepared, container: Container): Promise<string> {
  const first = sourceState(join(site.path, "source"), 1);
  const { index } = first.sessions[0]!;
  const generation = 2 as Generation;
  const bytes = encodeIndex({ ...index, generation, containers: [...index.containers, container] });
  await client.put({ kind: "index", volume: index.volume, generation }, bytes);
  const { head } = site.second;
  const volumes = head.volumes.map((each) => ({ ...each, indexDigest: fileDigest(bytes) }));
  const body = { ...head, volumes };
  const headBytes = encodeHead({
    ...body,
    chain: chainOf(head.archive, generation, head.previousChain, body),
  });
  await client.put({ kind: "head", generation }, headBytes);
  await client.send("commit", { ...site.second.commit, headDigest: fileDigest(headBytes) });
  const answer = await client.next();
  return answer.type === "refused" ? answer.body.code : answer.type;
}

const salvaged = (of: Container, list: Uint8Array): Container => ({
  ...of,
  headerDigest: new Uint8Array(32) as Digest,
  listDigest: fileDigest(list),
  manifestGeneration: 0 as Generation,
  manifestDigest: new Uint8Array(32) as Digest,
  chunks: decodeList(list).length,
  storedBytes: decodeList(list).reduce((sum, each) => sum + each.storedLength, 0),
});

describe.each(["dir", "tar"] as const)("form %s", (form) => {
  test("what was stored is there, an index can name it, and its chunks can be read", async () => {
    using site = await interrupted(form, 17);
    const { container, of } = site.session;
    let list: Uint8Array;
    {
      await using client = await connected(site);
      list = (await client.salvage("work", container.uid))!;
      const identity = { volume: of.volume, session: container.uid, generation: 2 as Generation };
      expect(decodeList(list, identity)).toEqual(sent(site.session, 17));
      expect(await client.listPending()).toMatchObject([{ name: container.name, form, finished: true }]);
      // Once more is no harm.
      expect(await client.salvage("work", container.uid)).toEqual(list);
      // It is not a session, and can't be passed off as one.
      expect(await commitContainer(client, site, { ...container, listDigest: fileDigest(list) })).toBe(
        "missing",
      );
      const wrong = salvaged(container, site.session.listBytes);
      expect(await commitContainer(client, site, wrong)).toBe("malformed");
      expect(await commitContainer(client, site, salvaged(container, list))).toBe("committed");
      // What a head names is neither left over nor to be discarded.
      expect(await client.listPending()).toEqual([]);
      expect(await client.salvage("work", container.uid)).toBeUndefined();
      const asked = { directory: "work", session: container.uid };
      expect(await client.ask("discard", asked, "refused")).toMatchObject({ body: { code: "missing" } });
      expect((await client.goodbye()).exitCode).toBe(0);
    }
    await using reader = site.start("sparsebak.Receive");
    await reader.hello(site.mountpoint, archiveDirectory);
    const ids = { volume: of.volume, session: container.uid };
    expect(await reader.read({ kind: "list", ...ids })).toEqual(list);
    expect(await reader.read({ kind: "header", ...ids })).toBeUndefined();
    const addresses = site.session.entries.map((each) => each.address);
    const found = await reader.readChunks(ids, addresses);
    for (const [i, entry] of site.session.entries.entries()) {
      const bytes = found.get(entry.address)!;
      expect(i < 17 ? sha256(bytes) : bytes.length).toEqual(i < 17 ? entry.checksum : 0);
    }
    if (form === "tar") {
      const tar = join(site.archive, "work", `${container.name}.tar`);
      const members = execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n");
      expect(members).toHaveLength(19);
      expect(members.slice(-2)).toEqual([`${container.name}/list`, `${container.name}/offsets`]);
    }
  });

  test("a session that was finished and never committed, too: without what it meant", async () => {
    using site = await interrupted(form);
    const { container } = site.session;
    await using client = await connected(site);
    const list = (await client.salvage("work", container.uid))!;
    expect(list).toEqual(site.session.listBytes);
    await putIndex(client, site.session);
    await client.put({ kind: "head", generation: 2 as Generation }, site.second.headBytes);
    await client.send("commit", site.second.commit);
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "missing" } });
    expect(await commitContainer(client, site, salvaged(container, list))).toBe("committed");
  });

  test("killed at any change, it is done again and comes to the same", async () => {
    using site = await interrupted(form, 9);
    const { container } = site.session;
    const saved = join(site.path, "saved");
    execFileSync("cp", ["-r", site.mountpoint, saved]);
    const once = async (killAt: number): Promise<void> => {
      rmSync(site.mountpoint, { recursive: true });
      execFileSync("cp", ["-r", saved, site.mountpoint]);
      await using client = startMortal(site, "sparsebak.Send", killAt);
      try {
        await client.hello(site.mountpoint, archiveDirectory);
        await client.salvage("work", container.uid);
        await client.goodbye();
      } catch (error) {
        if (killAt === 0) throw error;
      }
    };
    await once(0);
    const changes = countedChanges(site);
    expect(changes).toBeGreaterThan(15);
    for (let at = 1; at <= changes; at += 2) {
      await once(at);
      expect((await scrubbed(site.archive)).damage, `killed at ${at} of ${changes}`).toEqual([]);
      await using client = await connected(site);
      const list = await client.salvage("work", container.uid);
      expect(list && decodeList(list), `killed at ${at} of ${changes}`).toEqual(sent(site.session, 9));
      expect(await client.listPending()).toMatchObject([{ finished: true, session: container.uid }]);
      const left = readdirSync(join(site.archive, "work")).filter((each) => each.includes(container.name));
      expect(left).toHaveLength(1);
    }
  }, 120_000);

  test("nothing usable is missing, and stays to be discarded", async () => {
    using site = await interrupted(form, 0);
    await using client = await connected(site);
    const { uid } = site.session.container;
    expect(await client.salvage("work", uid)).toBeUndefined();
    expect(await client.salvage("work", new Uint8Array(16) as SessionUid)).toBeUndefined();
    expect(await client.salvage("elsewhere", uid)).toBeUndefined();
    await client.ask("discard", { directory: "work", session: uid }, "done");
    expect(await client.listPending()).toEqual([]);
  });
});

describe("only what reads back as it was", () => {
  test("chunk files that were changed, cut, emptied, have more behind them or are gone are left out, with and without a list", async () => {
    using site = await interrupted("dir", 12);
    flipAt(chunkFile(site, 1), 100);
    truncateSync(chunkFile(site, 3), 1000);
    truncateSync(chunkFile(site, 5), 0);
    rmSync(chunkFile(site, 7));
    appendFileSync(chunkFile(site, 9), "more");
    await using client = await connected(site);
    const list = (await client.salvage("work", site.session.container.uid))!;
    const right = sent(site.session, 12).filter((_, i) => ![1, 3, 5, 7, 9].includes(i));
    expect(decodeList(list)).toEqual(right);
    const files = execFileSync("find", [join(site.archive, "work"), "-name", "x*"], { encoding: "utf8" });
    const { name } = site.session.container;
    expect(
      files
        .trim()
        .split("\n")
        .filter((each) => each.includes(name)),
    ).toHaveLength(7);
  });

  test("a list that is there is what a chunk is compared with: another whole frame is not it", async () => {
    using site = await interrupted("dir");
    const { name, uid } = site.session.container;
    const at = (i: number): string => {
      const { group, file } = chunkPath(site.session.entries[i]!.address);
      return join(site.archive, "work", name, group, file);
    };
    writeFileSync(at(2), readFileSync(at(3)));
    await using client = await connected(site);
    const list = (await client.salvage("work", uid))!;
    expect(decodeList(list)).toEqual(sent(site.session).filter((_, i) => i !== 2));
  });

  test("a tar goes up to its last whole member", async () => {
    using site = await interrupted("tar", 12);
    const tar = join(partOf(site), "tar");
    truncateSync(tar, statSync(tar).size - 700);
    await using client = await connected(site);
    const list = (await client.salvage("work", site.session.container.uid))!;
    expect(decodeList(list)).toEqual(sent(site.session, 11));
  });

  test("members of a tar that are not whole become zeros, and every byte of the tar can be checked", async () => {
    using site = await interrupted("tar", 12);
    const lengths = sent(site.session).map((each) => each.storedLength);
    // Where the data of the third member begins: two members and its header are before it.
    const padded = (length: number): number => Math.ceil(length / 512) * 512;
    const at = 3 * 512 + padded(lengths[0]!) + padded(lengths[1]!);
    flipAt(join(partOf(site), "tar"), at + 100);
    await using client = await connected(site);
    const { container } = site.session;
    const list = (await client.salvage("work", container.uid))!;
    expect(decodeList(list)).toEqual(sent(site.session, 12).filter((_, i) => i !== 2));
    expect(await commitContainer(client, site, salvaged(container, list))).toBe("committed");
    await client.goodbye();
    const tar = join(site.archive, "work", `${container.name}.tar`);
    const now = bytesOf(tar);
    expect(now.subarray(at, at + lengths[2]!).some((byte) => byte !== 0)).toBe(false);
    expect((await scrubbed(site.archive)).damage).toEqual([]);
    for (const place of [at, at + lengths[2]! - 1, at - 512 + 30, at - 512 + 130]) {
      flipAt(tar, place);
      expect((await scrubbed(site.archive)).damage, `byte ${place}`).not.toEqual([]);
      flipAt(tar, place);
    }
  });

  test.each(["dir", "tar"] as const)(
    "nor is a committed session, whose name a leftover has: %s",
    async (form) => {
      using site = await interrupted(form, 3);
      const committed = sourceState(join(site.path, "source"), 1).sessions[0]!.container;
      const suffix = form === "tar" ? ".tar" : "";
      const work = join(site.archive, "work");
      const part = join(work, `${committed.name}${suffix}.part`);
      mkdirSync(part);
      // All that a salvage of a finished one, cut short, has made.
      cpSync(join(partOf(site), "pending"), join(part, "pending"));
      rmSync(partOf(site), { recursive: true });
      await using client = await connected(site);
      const asked = { directory: "work", session: site.session.container.uid };
      expect(await client.ask("salvage", asked, "refused")).toMatchObject({ body: { code: "exists" } });
      expect(existsSync(join(work, `${committed.name}${suffix}`))).toBe(true);
      await client.ask("discard", asked, "done");
      expect(await client.listPending()).toEqual([]);
    },
  );

  test("what a network file system keeps of a file that was open is no reason to refuse", async () => {
    using site = await interrupted("tar", 3);
    writeFileSync(join(partOf(site), ".nfs00000000018a2b3c00000001"), "old");
    await using client = await connected(site);
    expect(await client.salvage("work", site.session.container.uid)).toBeDefined();
    expect(existsSync(partOf(site))).toBe(false);
  });

  test("what is not of a session is not touched", async () => {
    using site = await interrupted("dir", 3);
    const foreign = join(partOf(site), "thesis.odt");
    writeFileSync(foreign, "mine");
    await using client = await connected(site);
    const asked = { directory: "work", session: site.session.container.uid };
    expect(await client.ask("salvage", asked, "refused")).toMatchObject({ body: { code: "not-allowed" } });
    expect(existsSync(foreign)).toBe(true);
  });
});
