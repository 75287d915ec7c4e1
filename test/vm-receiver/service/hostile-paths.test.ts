// Paths that lead upwards, and a drive that was prepared to lead the receiver astray: nothing outside of the archive is
// touched, nothing there is waited for, and a directory of somebody's own is left alone.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodeFrame } from "../../../protocol/wire/frame.ts";
import { noUuid } from "../../support/agent-client.ts";
import { type CommittedSite, committedSite } from "../committed-site.ts";
import { begin, sendState } from "../replay.ts";
import { archiveDirectory, greeted, receiverSite } from "../site.ts";

test("directories that lead upwards or elsewhere can't be said", () => {
  using site = receiverSite();
  for (const directory of ["../x", "/etc", "a/../b", "a//b", ".", "a/.", "a\nb"]) {
    const hello = {
      service: "sparsebak.Send",
      mountpoint: site.mountpoint,
      directory,
      archive: noUuid,
    } as const;
    expect(() => encodeFrame("agentHello", 1, hello)).toThrow();
  }
});

test("a hello whose directory leads upwards is refused by the receiver, too", async () => {
  using site = receiverSite();
  const good = encodeFrame("agentHello", 1, {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: "aa/bb",
    archive: noUuid,
  });
  const text = Buffer.from(good);
  text.write("../bb", text.indexOf("aa/bb"));
  await using client = site.start();
  await client.write(text);
  expect((await client.ended).exitCode).toBe(1);
  expect(readdirSync(site.mountpoint)).toEqual([]);
});

const traps: Record<string, (site: CommittedSite, outside: string) => void> = {
  "the archive's directory": (site, outside) => {
    rmSync(site.archive, { recursive: true });
    symlinkSync(outside, site.archive);
  },
  heads: (site, outside) => {
    rmSync(join(site.archive, "heads"), { recursive: true });
    symlinkSync(outside, join(site.archive, "heads"));
  },
  "the volume's directory": (site, outside) => {
    rmSync(join(site.archive, "work"), { recursive: true });
    symlinkSync(outside, join(site.archive, "work"));
  },
  "the lock": (site, outside) => {
    rmSync(join(site.archive, "lock"));
    symlinkSync(join(outside, "victim"), join(site.archive, "lock"));
  },
  "a head's temporary file": (site, outside) => {
    symlinkSync(join(outside, "victim"), join(site.archive, "heads", ".tmp-head"));
  },
  "the new index": (site, outside) => {
    symlinkSync(join(outside, "victim"), join(site.archive, "work", "index.2"));
  },
};

test.each(Object.keys(traps))("a symbolic link in place of %s leads nowhere", async (name) => {
  using site = await committedSite();
  const outside = join(site.path, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "victim"), "precious");
  traps[name]!(site, outside);
  await using client = site.start();
  await client.hello(site.mountpoint, archiveDirectory).then(
    async () => {
      await sendState(client, site.source, 2).catch(() => undefined);
    },
    () => undefined,
  );
  expect(readdirSync(outside)).toEqual(["victim"]);
  expect(readFileSync(join(outside, "victim"), "utf8")).toBe("precious");
});

test("a symbolic link in place of a group of chunks leads nowhere", async () => {
  using site = await committedSite();
  await using client = await greeted(site);
  await begin(client, site.session);
  const part = join(site.archive, "work", `${site.session.begin.name}.part`);
  rmSync(join(part, "000000000"), { force: true, recursive: true });
  symlinkSync(site.path, join(part, "000000000"));
  await client.send("chunk", site.session.chunk(site.session.entries[0]!));
  expect(await client.next()).toMatchObject({ type: "aborted" });
  expect(readdirSync(site.path).filter((name) => name.startsWith("x"))).toEqual([]);
});

test("a pipe or device in place of a file is not waited for", async () => {
  using site = await committedSite();
  rmSync(join(site.archive, "archive"));
  execFileSync("mkfifo", [join(site.archive, "archive")]);
  await using client = site.start();
  await client.send("agentHello", {
    service: "sparsebak.Send",
    mountpoint: site.mountpoint,
    directory: archiveDirectory,
    archive: noUuid,
  });
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "corrupt" } });
});

test("a directory of somebody's own is not made a volume", async () => {
  using site = await committedSite();
  mkdirSync(join(site.archive, "Photos"));
  writeFileSync(join(site.archive, "Photos", "cat.jpg"), "cat");
  await using client = await greeted(site);
  const asked = { ...site.session.begin, volume: new Uint8Array(16).fill(4) as never, directory: "Photos" };
  expect(await client.ask("beginSession", asked, "refused")).toMatchObject({ body: { code: "exists" } });
  expect(await client.listPending()).toEqual([]);
  expect(readdirSync(join(site.archive, "Photos"))).toEqual(["cat.jpg"]);
});

test("a directory in place of a second copy keeps nobody from sending and pruning", async () => {
  using site = await committedSite();
  const copies = join(site.archive, "copies");
  for (const each of ["heads/.tmp-copy", "work/index.9"])
    mkdirSync(join(copies, each, "full"), { recursive: true });
  {
    await using client = await greeted(site);
    await client.send("listPending", {});
    await client.expect("done");
    await sendState(client, site.source, 2);
    await client.goodbye();
  }
  await using prune = await greeted(site, "sparsebak.Prune");
  await prune.ask("sweep", {}, "done");
});
