// Retention as the receiver sees it: heads that name less, later manifests and lists of what stays, and a sweep that
// removes what is dead and due and nothing else, whenever it is killed (archive-format.md, F33 to F35; protocol.md, P25).

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { encodeArchiveHeader, decodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import { type DeadFile, encodeDead } from "../../../protocol/archive/dead-file.ts";
import { fileDigest, sha256 } from "../../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { capabilities } from "../../../protocol/wire/messages.ts";
import { assembleVolume } from "../../../vm-receiver/assemble/assemble.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import { createTestArchive, type TestArchive } from "../../support/archive-writer.ts";
import { listOf, makePrune, type Prune } from "../../support/prune-writer.ts";
import { scrubbed } from "../../support/scrubbed.ts";
import { countedChanges, startMortal } from "../mortal.ts";
import { loopMount, noLoopMounts } from "../loop-mount.ts";
import { bytesOf, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite } from "../site.ts";

interface Prepared extends ReceiverSite {
  readonly images: readonly Uint8Array[];
  readonly source: TestArchive;
}
const chunk = 65_536;

/** An archive of three sessions of `work`, and one of `home`, at the site. Each rewrites a part of the one before. */
function prepared(form: "dir" | "tar" = "dir"): Prepared {
  const site = receiverSite();
  const first = randomImage(24);
  const second = first.slice();
  second.set(randomImage(6), 4 * chunk);
  const third = second.slice();
  third.set(randomImage(6), 8 * chunk);
  const source = createTestArchive(site.archive);
  const images = [first, second, third];
  source.send({ home: randomImage(8), work: first }, { form });
  for (const image of images.slice(1)) source.send({ work: image }, { form });
  return { ...site, images, source };
}

async function pruner(site: ReceiverSite): Promise<AgentClient> {
  const client = site.start("sparsebak.Prune");
  await client.hello(site.mountpoint, archiveDirectory);
  return client;
}

/** Puts everything and commits; gives what the answer was. */
async function carry(client: AgentClient, prune: Prune): Promise<string> {
  for (const { name, bytes } of prune.puts) await client.put(name, bytes);
  await client.send("commit", prune.commit);
  const answer = await client.next();
  return answer.type === "refused" ? answer.body.code : answer.type;
}
const sweep = async (client: AgentClient): Promise<number> => {
  const answer = await client.ask("sweep", {}, "done");
  return answer.type === "done" ? answer.body.bytes : Number.NaN;
};

/** The sessions that are listed must still be what they were: `kept` by their number. */
async function expectImages(site: Prepared, kept: readonly number[]): Promise<void> {
  const sessions = site.source.sessionsOf("work");
  for (const i of kept) {
    const { imageDigest } = await assembleVolume({
      archivePath: site.archive,
      volumeDirectory: "work",
      session: sessions[i]!.uid,
      output: { kind: "none" },
      signal: new AbortController().signal,
    });
    expect(imageDigest).toEqual(sha256(site.images[i]!));
  }
}

/** Every file of the archive, below it, sorted. */
function files(site: ReceiverSite): string[] {
  return execFileSync("find", [".", "-type", "f"], { cwd: site.archive, encoding: "utf8" })
    .trim()
    .split("\n")
    .filter((each) => each !== "./lock" && each !== "./README.txt" && !each.startsWith("./copies/"))
    .sort();
}

const first = (site: Prepared): string => site.source.sessionsOf("work")[0]!.name;
const dropFirst = (site: Prepared): Prune =>
  makePrune(site.archive, { drop: (_, { name }, volume) => volume === "work" && name === first(site) });

describe.each(["dir", "tar"] as const)("form %s", (form) => {
  test("the first session goes: what it alone needed is gone, what others need stays and is right", async () => {
    using site = prepared(form);
    const prune = dropFirst(site);
    await using client = await pruner(site);
    expect(await carry(client, prune)).toBe("committed");
    const tar = join(site.archive, "work", `${first(site)}.tar`);
    const before = form === "tar" ? statSync(tar).blocks : 0;
    expect(await sweep(client)).toBeGreaterThan(100_000);
    expect(await sweep(client)).toBe(0);
    expect((await client.goodbye()).exitCode).toBe(0);
    await expectImages(site, [1, 2]);
    const left = files(site);
    expect(left.filter((each) => /^[.][/](?:dead|heads)[/]/.test(each))).toEqual(["./heads/4"]);
    expect(left.filter((each) => /work[/]index/.test(each))).toEqual(["./work/index.4"]);
    const [container] = prune.containers.get("work")!;
    const list = listOf(join(site.archive, "work"), container!);
    expect(list.length).toBeLessThan(18);
    if (form === "dir") {
      const chunks = left.filter((each) => each.includes(`work/${first(site)}/0`));
      expect(chunks).toHaveLength(list.length);
      expect(left.filter((each) => each.includes(`work/${first(site)}/list`))).toEqual([
        `./work/${first(site)}/list.4`,
      ]);
      expect(left.some((each) => each.includes(`work/${first(site)}/manifest`))).toBe(false);
    } else {
      expect(left).toContain(`./work/${first(site)}.tar.list.4`);
      // The tar stays one, and is smaller by some of what died.
      const members = execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n");
      expect(members).toHaveLength(18 + 4);
      expect((before - statSync(tar).blocks) * 512).toBeGreaterThan(200_000);
    }
  });

  test("one after another, until only the last is left: whole containers go", async () => {
    using site = prepared(form);
    await using client = await pruner(site);
    expect(await carry(client, dropFirst(site))).toBe("committed");
    await sweep(client);
    const names = site.source.sessionsOf("work").map((each) => each.name);
    const next = makePrune(site.archive, {
      drop: (_, { name }, volume) => volume === "work" && name !== names[2],
    });
    expect(await carry(client, next)).toBe("committed");
    await sweep(client);
    await expectImages(site, [2]);
    const all = makePrune(site.archive, { drop: (_, _container, volume) => volume === "work" });
    expect(await carry(client, all)).toBe("committed");
    await sweep(client);
    expect(readdirSync(join(site.archive, "work")).sort()).toEqual(["archive", "index.6"]);
  });

  test("killed at any change, from the first put to the end of the sweep, it is finished by the next run", async () => {
    using site = prepared(form);
    const prune = dropFirst(site);
    const saved = join(site.path, "saved");
    execFileSync("cp", ["-r", site.mountpoint, saved]);
    const once = async (killAt: number): Promise<void> => {
      execFileSync("rm", ["-r", site.mountpoint]);
      execFileSync("cp", ["-r", saved, site.mountpoint]);
      await using client = startMortal(site, "sparsebak.Prune", killAt);
      try {
        await client.hello(site.mountpoint, archiveDirectory);
        await carry(client, prune);
        await client.ask("sweep", {}, "done");
        await client.goodbye();
      } catch (error) {
        if (killAt === 0) throw error;
      }
    };
    await once(0);
    const wanted = files(site);
    const changes = countedChanges(site);
    expect(changes).toBeGreaterThan(40);
    const step = Math.ceil(changes / 10);
    for (let at = form === "dir" ? 1 : 3; at <= changes; at += step) {
      await once(at);
      expect((await scrubbed(site.archive)).damage, `killed at ${at} of ${changes}`).toEqual([]);
      await using client = site.start("sparsebak.Prune");
      const { generation } = await client.hello(site.mountpoint, archiveDirectory);
      if (generation === 3) {
        // The attempt can be made again; what the first one has left makes way for it.
        await expectImages(site, [0]);
        expect(await carry(client, prune)).toBe("committed");
      }
      await sweep(client);
      expect(files(site), `killed at ${at} of ${changes}`).toEqual(wanted);
      await client.goodbye();
      expect(await scrubbed(site.archive), `killed at ${at} of ${changes}`).toEqual({
        damage: [],
        remarks: [],
      });
    }
    await expectImages(site, [1, 2]);
  }, 120_000);
});

describe("kept for its time", () => {
  const thirtyDays = "days = 30\nsum = 7e57ac52574d34c5\n";
  const settings = (site: ReceiverSite, days: number | undefined): void => {
    const line = days === undefined ? "" : `trash-days = ${days}\n`;
    writeFileSync(site.settings, `[receiver]\nplain-directories = ${site.mountpoint}\n${line}`);
  };
  const age = (site: ReceiverSite, days: number): void => {
    const then = Date.now() / 1000 - days * 86_400;
    utimesSync(join(site.archive, "dead", "4"), then, then);
  };

  test("until it is due nothing is gone, and no service takes it away; a lost settings file shortens nothing", async () => {
    using site = prepared();
    settings(site, 30);
    {
      await using client = await pruner(site);
      const prune = makePrune(site.archive, {
        drop: (_, { name }, volume) => volume === "work" && name !== site.source.sessionsOf("work")[2]!.name,
      });
      expect(await carry(client, prune)).toBe("committed");
      expect(await sweep(client)).toBe(0);
      await client.goodbye();
    }
    const whole = files(site);
    expect(readFileSync(join(site.archive, "trash"), "utf8")).toBe(thirtyDays);
    settings(site, undefined);
    age(site, 29);
    {
      await using client = await pruner(site);
      expect(await sweep(client)).toBe(0);
      await client.goodbye();
    }
    {
      // What waits is not left over: a sender sees none of it and can't remove it.
      await using sender = site.start("sparsebak.Send");
      await sender.hello(site.mountpoint, archiveDirectory);
      expect(await sender.listPending()).toEqual([]);
      for (const { uid } of site.source.sessionsOf("work")) {
        const asked = { directory: "work", session: uid };
        expect(await sender.ask("discard", asked, "refused")).toMatchObject({ body: { code: "missing" } });
        expect(await sender.salvage("work", uid)).toBeUndefined();
      }
      await sender.goodbye();
    }
    expect(files(site)).toEqual(whole);
    age(site, 31);
    await using client = await pruner(site);
    expect(await sweep(client)).toBeGreaterThan(0);
    expect(existsSync(join(site.archive, "dead", "4"))).toBe(false);
    await expectImages(site, [2]);
  });

  test("lowering takes the setting; a list from the future waits; a record that says nothing stops the sweep", async () => {
    using site = prepared();
    writeFileSync(join(site.archive, "trash"), thirtyDays);
    const later = makePrune(site.archive, {
      drop: (_, { name }) => name === first(site),
      alterDead: (dead) => ({ ...dead, createdAt: Date.now() + 3_600_000 }),
    });
    {
      await using client = await pruner(site);
      expect(await carry(client, later)).toBe("committed");
      await client.goodbye();
    }
    age(site, 31);
    {
      await using client = await pruner(site);
      expect(await sweep(client)).toBe(0);
      await client.goodbye();
    }
    for (const nothing of ["days = soon\n", "days = 30\n", thirtyDays.replace("30", "31")]) {
      writeFileSync(join(site.archive, "trash"), nothing);
      await using client = await pruner(site);
      expect(await client.ask("sweep", {}, "refused")).toMatchObject({ body: { code: "corrupt" } });
      await client.goodbye();
    }
    writeFileSync(join(site.archive, "trash"), thirtyDays);
    settings(site, 0);
    await using client = await pruner(site);
    expect(await sweep(client)).toBeGreaterThan(0);
    expect(readFileSync(join(site.archive, "trash"), "utf8")).toBe(thirtyDays);
  });
});

describe("a dead list alone makes nothing dead:", () => {
  const everything = (site: Prepared): DeadFile => {
    const dead = dropFirst(site).dead;
    const [work] = dead.volumes;
    const all = site.source.sessionsOf("work").map(({ uid, name, form }) => ({ uid, name, form }));
    return {
      ...dead,
      archives: [0 as Generation],
      volumes: [
        {
          ...work!,
          indexes: [1, 2, 3] as Generation[],
          containers: all.map((each, i) => ({
            ...each,
            whole: i === 2,
            manifests: (i === 2 ? [] : [i + 1]) as Generation[],
            lists: (i === 2 ? [] : [0]) as Generation[],
            chunks: i === 2 ? [] : [{ address: 0 as never, count: 24 }],
          })),
        },
      ],
    };
  };

  test("what the current head names stays, whatever the list says", async () => {
    using site = prepared();
    await using client = await pruner(site);
    // A step that changes a tag, with a list that wants everything.
    const step = makePrune(site.archive, {
      alterIndex: (index) =>
        index.name === "work"
          ? { ...index, sessions: index.sessions.map((each) => ({ ...each, tags: ["tag"] })) }
          : index,
      alterDead: () => everything(site),
    });
    expect(await carry(client, step)).toBe("committed");
    await sweep(client);
    await expectImages(site, [0, 1, 2]);
    const left = files(site);
    expect(left).toContain("./archive");
    expect(left).toContain("./work/index.4");
    expect(left).not.toContain("./work/index.3");
    expect(left).not.toContain("./heads/3");
    for (const { name } of site.source.sessionsOf("work")) expect(left).toContain(`./work/${name}/list`);
  });

  test("a volume that is there is not removed, and one that came back under its directory keeps what is its", async () => {
    using site = prepared();
    {
      await using client = await pruner(site);
      const gone = makePrune(site.archive, { remove: ["home"] });
      // Kept for a while: the sweep comes after a new volume has moved into the directory.
      expect(await carry(client, gone)).toBe("committed");
      await client.goodbye();
    }
    const other = createTestArchive(join(site.path, "other"), { header: site.source.header });
    other.send({ home: randomImage(5) });
    const state = sourceState(other.path, 1);
    const session = state.sessions[0]!;
    {
      await using sender = site.start("sparsebak.Send");
      await sender.hello(site.mountpoint, archiveDirectory);
      await sender.ask(
        "beginSession",
        { ...session.begin, name: "S_20300101-000000" as never, generation: 5 as Generation },
        "done",
      );
      await sender.send("chunk", session.chunk(session.entries[0]!));
      sender.child.kill("SIGKILL");
      await sender.ended;
    }
    await using client = await pruner(site);
    await sweep(client);
    const left = readdirSync(join(site.archive, "home")).sort();
    expect(left).toEqual(["S_20300101-000000.part", "archive"]);
  });

  test("a volume that goes takes its directory with it, and a stranger's file keeps that there", async () => {
    using site = prepared();
    await using client = await pruner(site);
    expect(await carry(client, makePrune(site.archive, { remove: ["home"] }))).toBe("committed");
    writeFileSync(join(site.archive, "home", "thesis.odt"), "mine");
    await sweep(client);
    expect(readdirSync(join(site.archive, "home")).sort()).toEqual(["archive", "thesis.odt"]);
    expect(await carry(client, makePrune(site.archive, { remove: ["work"] }))).toBe("committed");
    await sweep(client);
    expect(existsSync(join(site.archive, "work"))).toBe(false);
  });
});

describe("refused:", () => {
  const none = new Uint8Array(32) as Digest;
  const cases: Record<string, (site: Prepared) => Prune> = {
    "stale: based on an older head": (site) => {
      const prune = dropFirst(site);
      return { ...prune, commit: { ...prune.commit, base: 2 as Generation } };
    },
    "malformed: another chain": (site) =>
      makePrune(site.archive, { remove: ["home"], alterHead: (head) => ({ ...head, previousChain: none }) }),
    "malformed: a volume in another directory": (site) =>
      makePrune(site.archive, {
        alterHead: (head) => ({
          ...head,
          volumes: head.volumes.map((each) => ({ ...each, directory: `x${each.directory}` })),
        }),
      }),
    "malformed: a container of another name": (site) =>
      makePrune(site.archive, {
        alterIndex: (index) => ({
          ...index,
          containers: index.containers.map((each, i) =>
            i === 0 ? { ...each, name: "S_19990101-000000" as never } : each,
          ),
        }),
      }),
    "malformed: a container that was not there": (site) =>
      makePrune(site.archive, {
        alterIndex: (index) => ({
          ...index,
          containers: [
            ...index.containers,
            {
              ...index.containers[0]!,
              uid: new Uint8Array(16).fill(9) as never,
              name: "S_19990101-000000" as never,
            },
          ],
        }),
      }),
    "malformed: fewer chunks, and the same list": (site) =>
      makePrune(site.archive, {
        alterIndex: (index) => ({
          ...index,
          containers: index.containers.map((each) => ({ ...each, chunks: 1 })),
        }),
      }),
    "missing: a manifest that was never put": (site) => {
      const prune = dropFirst(site);
      return { ...prune, puts: prune.puts.filter(({ name }) => name.kind !== "manifest") };
    },
    "missing: a list that was never put": (site) => {
      const prune = dropFirst(site);
      return { ...prune, puts: prune.puts.filter(({ name }) => name.kind !== "list") };
    },
  };
  test.each(Object.entries(cases))("%s", async (what, make) => {
    using site = prepared();
    const whole = files(site);
    const prune = make(site);
    {
      await using client = await pruner(site);
      expect(await carry(client, prune)).toBe(what.replace(/:.*/, ""));
      await client.goodbye();
    }
    // Nothing of the archive has changed, and what was put is in nobody's way.
    expect(files(site)).toEqual(expect.arrayContaining(whole));
    await using client = await pruner(site);
    expect(await carry(client, dropFirst(site))).toBe("committed");
    await client.goodbye();
    await expectImages(site, [1, 2]);
  });

  test("sparsebak.Send can put none of what only a prune needs, and drop nothing", async () => {
    using site = prepared();
    const prune = dropFirst(site);
    await using client = site.start("sparsebak.Send");
    await client.hello(site.mountpoint, archiveDirectory);
    for (const { name, bytes } of prune.puts) {
      await client.upload(name, bytes);
      const isSends = name.kind === "index" || name.kind === "head";
      expect((await client.next()).type, name.kind).toBe(isSends ? "done" : "refused");
    }
    await client.upload(
      { kind: "archive", generation: 4 as Generation },
      bytesOf(join(site.archive, "archive")),
    );
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "exists" } });
    expect(await client.ask("commit", prune.commit, "refused")).toMatchObject({
      body: { code: "malformed" },
    });
    await expectImages(site, [0, 1, 2]);
  });

  test("files that are not what they are put as", async () => {
    using site = prepared();
    const prune = dropFirst(site);
    for (const kind of ["dead", "manifest", "list"] as const) {
      await using client = await pruner(site);
      const { name } = prune.puts.find((each) => each.name.kind === kind)!;
      const [other] = prune.puts.filter((each) => each.name.kind !== kind);
      await client.upload(name, other!.bytes);
      expect(await client.next(), kind).toMatchObject({ type: "refused", body: { code: "malformed" } });
      await client.upload({ ...name, generation: 7 as Generation }, other!.bytes);
      expect(await client.next(), kind).toMatchObject({ type: "refused", body: { code: "stale" } });
    }
    await using client = await pruner(site);
    const elsewhere = encodeDead({ ...prune.dead, archive: new Uint8Array(16) as never });
    await client.upload({ kind: "dead", generation: 4 as Generation }, elsewhere);
    expect(await client.next()).toMatchObject({ type: "refused", body: { code: "malformed" } });
  });
});

test("key slots are changed: archive.N with its copies, by which a volume's directory still says whose it is", async () => {
  using site = prepared();
  const now = encodeArchiveHeader({
    ...decodeArchiveHeader(bytesOf(join(site.archive, "archive"))),
    level: 5,
  });
  const step = makePrune(site.archive, {
    alterIndex: (index) => (index.name === "work" ? { ...index } : index),
    alterHead: (head) => ({ ...head, archiveGeneration: 4 as Generation, archiveDigest: fileDigest(now) }),
    alterDead: (dead) => ({ ...dead, volumes: [], archives: [0 as Generation] }),
  });
  await using client = await pruner(site);
  await client.put({ kind: "archive", generation: 4 as Generation }, now);
  expect(await carry(client, step)).toBe("committed");
  await sweep(client);
  for (const directory of ["", "work", "home"]) {
    expect(bytesOf(join(site.archive, directory, "archive.4"))).toEqual(now);
    expect(existsSync(join(site.archive, directory, "archive"))).toBe(false);
  }
  expect(await client.read({ kind: "archive", generation: 4 as Generation })).toEqual(now);
  await client.goodbye();
  // The next session goes into the same directories, and a new volume gets a copy.
  await using sender = site.start("sparsebak.Send");
  await sender.hello(site.mountpoint, archiveDirectory);
  const other = createTestArchive(join(site.path, "other"), { header: site.source.header });
  other.send({ mail: randomImage(5) });
  const { begin } = sourceState(other.path, 1).sessions[0]!;
  await sender.ask("beginSession", { ...begin, generation: 5 as Generation }, "done");
  expect(bytesOf(join(site.archive, "mail", "archive.4"))).toEqual(now);
});

test.skipIf(noLoopMounts !== undefined)(
  `on a full drive nothing is lost, and what is due still goes${noLoopMounts ? `: skipped, ${noLoopMounts}` : ""}`,
  async () => {
    using mount = loopMount("ext4", 32 * 2 ** 20, ["-q", "-m", "0"]);
    using made = prepared();
    execFileSync("cp", ["-r", made.archive, join(mount.path, archiveDirectory)]);
    using target = receiverSite(mount.path);
    const site: Prepared = { ...made, ...target };
    const prune = dropFirst(site);
    const fill = (): void => {
      spawnSync("dd", ["if=/dev/zero", `of=${join(mount.path, "filler")}`, "bs=4k"], { stdio: "ignore" });
    };
    fill();
    {
      await using client = await pruner(site);
      const answers: string[] = [];
      for (const { name, bytes } of prune.puts) {
        await client.upload(name, bytes);
        const answer = await client.next();
        answers.push(answer.type === "refused" ? answer.body.code : answer.type);
      }
      expect(answers).toContain("no-space");
      await client.goodbye();
    }
    await expectImages(site, [0, 1, 2]);
    rmSync(join(mount.path, "filler"));
    {
      await using client = await pruner(site);
      expect(await carry(client, prune)).toBe("committed");
      await client.goodbye();
    }
    fill();
    await using client = await pruner(site);
    expect(await sweep(client)).toBeGreaterThan(100_000);
    await client.goodbye();
    await expectImages(site, [1, 2]);
  },
);

test("a qube that prunes hears whether room in tars can be given back", async () => {
  using site = prepared();
  await using client = site.start("sparsebak.Prune");
  const { capabilities: can } = await client.hello(site.mountpoint, archiveDirectory);
  expect(can & capabilities.punchHoles).toBe(capabilities.punchHoles);
});
