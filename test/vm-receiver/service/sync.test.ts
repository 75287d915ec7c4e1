// What can't be made to last is not called done: the exit status of sync(1) counts.

import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import type { SessionUid } from "../../../protocol/archive/types.ts";
import type { AgentClient } from "../../support/agent-client.ts";
import {
  begin,
  bytesOf,
  putMeta,
  sendChunks,
  sendState,
  type SourceSession,
  sourceState,
} from "../replay.ts";
import { archiveDirectory, randomImage, receiverSite, type ReceiverSite, sourceArchive } from "../site.ts";

/** Tools of which sync(1) is `script`; gives their directory. */
function toolsWithSync(site: ReceiverSite, script: string): string {
  const tools = join(site.path, "tools");
  mkdirSync(tools);
  symlinkSync("/usr/bin/flock", join(tools, "flock"));
  writeFileSync(
    join(tools, "sync"),
    `#!/bin/sh\n${script}\necho 'error syncing: Input/output error' >&2\nexit 1\n`,
  );
  chmodSync(join(tools, "sync"), 0o755);
  return tools;
}

/** Sends all of the source's first session but the answer to its end. */
async function sendUpToEnd(client: AgentClient, site: ReceiverSite, source: string): Promise<SourceSession> {
  const [session] = sourceState(source, 1).sessions;
  await client.hello(site.mountpoint, archiveDirectory);
  await client.put({ kind: "archive" }, bytesOf(join(source, "archive")));
  await begin(client, session!);
  await sendChunks(client, session!);
  await putMeta(client, session!);
  await client.send("endSession", session!.end);
  return session!;
}

/** Says hello to a receiver that refuses it; gives the code. */
async function refusal(client: AgentClient, site: ReceiverSite): Promise<string> {
  await client.send("agentHello", {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: archiveDirectory,
    archive: new Uint8Array(16) as never,
  });
  return (await client.expect("refused")).code;
}

/** More chunks than are synced one by one. */
const manyChunks = 120;
const nobody = new Uint8Array(16) as SessionUid;

test("a session whose file system can't be synced is not finished", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(manyChunks)]);
  const environment = { SPARSEBAK_TOOL_PATH: toolsWithSync(site, "") };
  await using client = site.start("sparsebak.Send", { environment });
  const session = await sendUpToEnd(client, site, source.path);
  const answer = await client.expect("refused");
  expect(answer).toMatchObject({ code: "io" });
  expect(answer.reason).toContain("error syncing: Input/output error");
  expect(existsSync(join(site.archive, "work", session.begin.name))).toBe(false);
  // What was not written still reads well from memory: it is nobody's from now on, and all is sent anew.
  expect(await client.listPending()).toMatchObject([{ finished: false, session: nobody }]);
  expect(await client.salvage("work", session.container.uid)).toBeUndefined();
  await client.goodbye();
  await using again = site.start("sparsebak.Send");
  await again.hello(site.mountpoint, archiveDirectory);
  await again.ask("discard", { directory: "work", session: nobody }, "done");
  expect(await again.listPending()).toEqual([]);
  await sendState(again, source.path, 1);
});

test("a sync that outlives its connection is waited for, and what it says counts", async () => {
  using site = receiverSite();
  const source = sourceArchive(site, [randomImage(manyChunks)]);
  const [begun, gate] = [join(site.path, "begun"), join(site.path, "gate")];
  const script = `: >${begun}\nwhile [ ! -e ${gate} ]; do /usr/bin/sleep 0.1; done`;
  const environment = { SPARSEBAK_TOOL_PATH: toolsWithSync(site, script) };
  const client = site.start("sparsebak.Send", { environment });
  await sendUpToEnd(client, site, source.path);
  await vi.waitFor(() => expect(existsSync(begun)).toBe(true), { timeout: 30_000 });
  client.end();
  // Longer than an end waits for anything else.
  await sleep(7000);
  expect(client.child.exitCode).toBeNull();
  await using second = site.start("sparsebak.Send");
  expect(await refusal(second, site)).toBe("busy");
  writeFileSync(gate, "");
  await client.ended;
  await using again = site.start("sparsebak.Send");
  await again.hello(site.mountpoint, archiveDirectory);
  expect(await again.listPending()).toMatchObject([{ finished: false, session: nobody }]);
});

test("without flock(1) nobody writes", async () => {
  using site = receiverSite();
  const tools = join(site.path, "tools");
  mkdirSync(tools);
  await using client = site.start("sparsebak.Send", { environment: { SPARSEBAK_TOOL_PATH: tools } });
  expect(await refusal(client, site)).toBe("unsupported");
});
