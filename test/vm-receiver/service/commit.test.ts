// The only commit: once its head has its name it is made, whatever fails then; what an attempt that was cut short has left
// is in no commit's way, and what became of heads and their second copies is not taken for something else.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fileDigest } from "../../../protocol/archive/prefix.ts";
import type { Generation } from "../../../protocol/archive/types.ts";
import { openAbsolute } from "../../../vm-receiver/directory.ts";
import { RefusalError } from "../../../vm-receiver/errors.ts";
import { commit as commitHead } from "../../../vm-receiver/service/commit.ts";
import { putFile } from "../../../vm-receiver/service/put-file.ts";
import { openArchive } from "../../../vm-receiver/store/archive.ts";
import { metaName } from "../../support/agent-client.ts";
import { committedSite } from "../committed-site.ts";
import { bytesOf, commit, headsOf, putIndex, sendSession, sendState } from "../replay.ts";
import { archiveDirectory } from "../site.ts";

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
  expect(headsOf(site.archive)).toEqual(["1", "2"]);
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
  expect(headsOf(site.archive)).toEqual(["1", "2"]);
  const name = metaName({ kind: "index", volume: session.of.volume, generation: 2 as Generation });
  const announced = { name, length: session.indexBytes.length, digest: fileDigest(session.indexBytes) };
  const space = { freeBytes: 1e9, totalBytes: 1e9, freeInodes: 0, totalInodes: 0 };
  expect(() => putFile(archive, memory, announced, "add", () => space)).toThrow(
    "a file for head 2, wanted 3",
  );
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
