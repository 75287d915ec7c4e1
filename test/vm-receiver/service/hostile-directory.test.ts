// A caller that names another directory than the archive's own, in it or around it: nothing of the archive changes, and
// none is made where another one's files lie (design section 8).

import { cpSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeArchiveHeader, encodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import type { ArchiveUuid } from "../../../protocol/archive/types.ts";
import { noUuid } from "../../support/agent-client.ts";
import { contentsOf } from "../../support/contents.ts";
import { answerOf, historySite, putting, sessionOf } from "../history-site.ts";
import { bytesOf, sendStates } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

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
    using site = await historySite();
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
    using site = await historySite();
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
    await sendStates(site, source.path, [1]);
    const before = contentsOf(site.archive);
    expect(await putting(early, { kind: "archive" }, header)).toBe("exists");
    expect(contentsOf(site.archive)).toMatchObject(before);
  });

  test("an archive with another one around it, or inside, is used as ever", async () => {
    using site = await historySite();
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
  using site = await historySite();
  for (const service of ["sparsebak.Send", "sparsebak.Prune"] as const) {
    await using client = site.start(service);
    const directory = `${archiveDirectory}/copies`;
    await client.send("agentHello", { service, mountpoint: site.mountpoint, directory, archive: noUuid });
    expect(await answerOf(client)).toBe("not-allowed");
  }
  expect(readdirSync(join(site.archive, "copies")).toSorted()).toEqual(["heads", "work"]);
});
