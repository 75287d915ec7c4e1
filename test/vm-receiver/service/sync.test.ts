// What can't be made to last is not called done: the exit status of sync(1) counts.

import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import { begin, bytesOf, putMeta, sendChunks, sendState, sourceState } from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, sourceArchive } from "../site.ts";

test("a session whose file system can't be synced is not finished", async () => {
  using site = receiverSite();
  // More chunks than are synced one by one.
  const source = sourceArchive(site, [randomImage(120)]);
  const [session] = sourceState(source.path, 1).sessions;
  const tools = join(site.path, "tools");
  mkdirSync(tools);
  symlinkSync("/usr/bin/flock", join(tools, "flock"));
  writeFileSync(join(tools, "sync"), "#!/bin/sh\necho 'error syncing: Input/output error' >&2\nexit 1\n");
  chmodSync(join(tools, "sync"), 0o755);
  await using client = site.start("sparsebak.Send", { environment: { SPARSEBAK_TOOL_PATH: tools } });
  await client.hello(site.mountpoint, archiveDirectory);
  await client.put({ kind: "archive" }, bytesOf(join(source.path, "archive")));
  await begin(client, session!);
  await sendChunks(client, session!);
  await putMeta(client, session!);
  await client.send("endSession", session!.end);
  const answer = await client.expect("refused");
  expect(answer).toMatchObject({ code: "io" });
  expect(answer.reason).toContain("error syncing: Input/output error");
  expect(existsSync(join(site.archive, "work", session!.begin.name))).toBe(false);
  // What was not written still reads well from memory: it is nobody's from now on, and all is sent anew.
  const nobody = new Uint8Array(16) as SessionUid;
  expect(await client.listPending()).toMatchObject([{ finished: false, session: nobody }]);
  expect(await client.salvage("work", session!.container.uid)).toBeUndefined();
  await client.goodbye();
  await using again = site.start("sparsebak.Send");
  await again.hello(site.mountpoint, archiveDirectory);
  await again.ask("discard", { directory: "work", session: nobody }, "done");
  expect(await again.listPending()).toEqual([]);
  await sendState(again, source.path, 1);
});

test("without flock(1) nobody writes", async () => {
  using site = receiverSite();
  const tools = join(site.path, "tools");
  mkdirSync(tools);
  await using client = site.start("sparsebak.Send", { environment: { SPARSEBAK_TOOL_PATH: tools } });
  await client.send("agentHello", {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: archiveDirectory,
    archive: new Uint8Array(16) as never,
  });
  expect(await client.expect("refused")).toMatchObject({ code: "unsupported" });
});
