// Every kind of damage to a container is found and named, without any key, and nothing that is in order is
// (protocol.md, "Reading").

import { cpSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { footerBytes } from "../../../protocol/archive/tar-layout.ts";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import { chunkPath } from "../../../protocol/archive/names.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import { flipAt } from "../../support/damage.ts";
import { makePrune } from "../../support/prune-writer.ts";
import { bytesOf, sourceState, type SourceSession } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

async function reader(site: ReceiverSite): Promise<AgentClient> {
  const client = site.start("sparsebak.Receive");
  await client.hello(site.mountpoint, archiveDirectory);
  return client;
}

interface Prepared extends ReceiverSite {
  readonly session: SourceSession;
  /** The container's directory or tar. */
  readonly path: string;
}

function prepared(form: "dir" | "tar"): Prepared {
  const site = receiverSite();
  const source = sourceArchive(site, [randomImage(12)], form);
  const session = sourceState(source.path, 1).sessions[0]!;
  rmSync(join(source.path, "work", ".extracted"), { recursive: true, force: true });
  cpSync(source.path, site.archive, { recursive: true });
  const path = join(site.archive, "work", session.container.name + (form === "tar" ? ".tar" : ""));
  return { ...site, session, path };
}
const ids = ({ session }: Prepared) => ({ volume: session.of.volume, session: session.container.uid });
const fileOf = ({ session, path }: Prepared, i: number): string => {
  const { group, file } = chunkPath(session.entries[i]!.address);
  return join(path, group, file);
};

describe("a directory", () => {
  const address = (site: Prepared, i: number): number => site.session.entries[i]!.address;
  const cases: Record<string, (site: Prepared) => readonly string[]> = {
    "in order": () => [],
    "chunks flipped, cut, gone, replaced by each other and by a directory": (site) => {
      flipAt(fileOf(site, 0), 20);
      truncateSync(fileOf(site, 1), 100);
      rmSync(fileOf(site, 2));
      cpSync(fileOf(site, 4), fileOf(site, 3));
      rmSync(fileOf(site, 5));
      mkdirSync(fileOf(site, 5));
      return ["corrupt", "corrupt", "missing", "corrupt", "", "corrupt"].flatMap((what, i) =>
        what === "" ? [] : `chunk ${what} ${address(site, i)}`,
      );
    },
    "files that are not of it": (site) => {
      const hole = { group: "000000000", file: "x0000000000030000" };
      writeFileSync(join(site.path, hole.group, hole.file), "x");
      writeFileSync(join(site.path, hole.group, "x"), "x");
      writeFileSync(join(site.path, "pending"), "x");
      writeFileSync(join(site.path, "manifest.7"), "x");
      // A manifest of a head that is yet to come is what a command that was cut short has left.
      return ["chunk extra 196608", "manifest leftover", "other extra", "other extra"];
    },
    "header and manifest": (site) => {
      flipAt(join(site.path, "header"), 100);
      rmSync(join(site.path, "manifest.1"));
      return ["header corrupt", "manifest missing"];
    },
    "the list": (site) => {
      flipAt(join(site.path, "list"), -1);
      return ["list corrupt"];
    },
    "all of it": (site) => {
      rmSync(site.path, { recursive: true });
      return ["header missing", "list missing", "manifest missing"];
    },
  };
  test.each(Object.entries(cases))("%s", async (_, damage) => {
    using site = prepared("dir");
    const wanted = damage(site);
    await using client = await reader(site);
    expect(await client.scrub(ids(site))).toEqual([...wanted].sort());
    expect((await client.goodbye()).exitCode).toBe(0);
  });
});

describe("a tar", () => {
  const cases: Record<string, (site: Prepared) => readonly string[]> = {
    "in order": () => [],
    "a chunk": (site) => {
      flipAt(site.path, 512 + 20);
      return [`chunk corrupt ${site.session.entries[0]!.address}`];
    },
    "a member's header": (site) => {
      flipAt(site.path, 124);
      return [`chunk corrupt ${site.session.entries[0]!.address}`, "member corrupt"];
    },
    "the mode in a member's header, padding, and the end": (site) => {
      flipAt(site.path, 105);
      flipAt(site.path, -1);
      const { storedLength } = site.session.entries[0]!;
      expect(storedLength % 512).not.toBe(0);
      flipAt(site.path, 512 + storedLength);
      return ["member corrupt", "member corrupt"];
    },
    "offsets that lead elsewhere": (site) => {
      // The last record's address becomes another one, far away.
      const bytes = bytesOf(site.path);
      const footer = new DataView(bytes.buffer, bytes.length - 1024 - footerBytes, footerBytes);
      const { entries } = site.session;
      flipAt(site.path, Number(footer.getBigUint64(8)) + (entries.length - 1) * 16 + 2);
      return [`chunk missing ${entries.at(-1)!.address}`, "offsets corrupt"];
    },
    "its end": (site) => {
      truncateSync(site.path, 20_480);
      return ["offsets corrupt"];
    },
    "all of it": (site) => {
      rmSync(site.path);
      return ["offsets missing"];
    },
  };
  test.each(Object.entries(cases))("%s", async (_, damage) => {
    using site = prepared("tar");
    const wanted = damage(site);
    await using client = await reader(site);
    expect(await client.scrub(ids(site))).toEqual([...wanted].sort());
  });
});

test("what was pruned and waits for its day is not extra, and is once nothing says so; a container nobody has is missing", async () => {
  using site = receiverSite();
  const first = randomImage(12);
  const second = first.slice();
  second.set(randomImage(4));
  const source = sourceArchive({ ...site, path: join(site.path, "x") }, [first, second]);
  cpSync(source.path, site.archive, { recursive: true });
  const { uid, name } = source.sessionsOf("work")[0]!;
  const prune = makePrune(site.archive, { drop: (_, container) => container.name === name });
  {
    await using client = site.start("sparsebak.Prune");
    await client.hello(site.mountpoint, archiveDirectory);
    for (const put of prune.puts) await client.put(put.name, put.bytes);
    await client.ask("commit", prune.commit, "committed");
    await client.goodbye();
  }
  const { volume } = prune.dead.volumes[0]!;
  await using client = await reader(site);
  expect(await client.scrub({ volume, session: uid })).toEqual([]);
  expect(
    await client.ask("scrub", { volume, session: new Uint8Array(16) as SessionUid }, "refused"),
  ).toMatchObject({
    body: { code: "missing" },
  });
  await client.goodbye();
  rmSync(join(site.archive, "dead"), { recursive: true });
  await using again = await reader(site);
  const extras = await again.scrub({ volume, session: uid });
  expect(extras.filter((each) => each.startsWith("chunk extra"))).not.toEqual([]);
  expect(extras).toContain("list extra");
  expect(extras).toContain("manifest extra");
  expect(readdirSync(join(site.archive, "work", name)).length).toBeGreaterThan(3);
});
