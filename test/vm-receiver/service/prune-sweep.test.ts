// What a prune and its sweep remove: what is dead, and nothing that a session which stays needs; also where no room is left
// (archive-format.md, F33 and F34).

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { capabilities } from "../../../protocol/wire/messages.ts";
import { listOf, makePrune } from "../../support/prune-writer.ts";
import { loopMount, noLoopMounts } from "../loop-mount.ts";
import {
  carry,
  dropFirst,
  expectImages,
  filesOf,
  firstSession,
  pruner,
  pruneSite,
  type PruneSite,
  sweep,
} from "../prune-site.ts";
import { archiveDirectory, receiverSite } from "../site.ts";

describe.each(["dir", "tar"] as const)("form %s", (form) => {
  test("the first session goes: what it alone needed is gone, what others need stays and is right", async () => {
    using site = pruneSite(form);
    const prune = dropFirst(site);
    await using client = await pruner(site);
    expect(await carry(client, prune)).toBe("committed");
    const tar = join(site.archive, "work", `${firstSession(site)}.tar`);
    const before = form === "tar" ? statSync(tar).blocks : 0;
    expect(await sweep(client)).toBeGreaterThan(100_000);
    expect(await sweep(client)).toBe(0);
    expect((await client.goodbye()).exitCode).toBe(0);
    await expectImages(site, [1, 2]);
    const left = filesOf(site);
    expect(left.filter((each) => /^[.][/](?:dead|heads)[/]/.test(each))).toEqual(["./heads/4"]);
    expect(left.filter((each) => /work[/]index/.test(each))).toEqual(["./work/index.4"]);
    const [container] = prune.containers.get("work")!;
    const list = listOf(join(site.archive, "work"), container!);
    expect(list.length).toBeLessThan(18);
    if (form === "dir") {
      const chunks = left.filter((each) => each.includes(`work/${firstSession(site)}/0`));
      expect(chunks).toHaveLength(list.length);
      expect(left.filter((each) => each.includes(`work/${firstSession(site)}/list`))).toEqual([
        `./work/${firstSession(site)}/list.4`,
      ]);
      expect(left.some((each) => each.includes(`work/${firstSession(site)}/manifest`))).toBe(false);
    } else {
      expect(left).toContain(`./work/${firstSession(site)}.tar.list.4`);
      // The tar stays one, and is smaller by some of what died.
      const members = execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n");
      expect(members).toHaveLength(18 + 4);
      expect((before - statSync(tar).blocks) * 512).toBeGreaterThan(200_000);
    }
  });

  test("one after another, until only the last is left: whole containers go", async () => {
    using site = pruneSite(form);
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
});

test("a volume that goes takes its directory with it, and a stranger's file keeps that there", async () => {
  using site = pruneSite();
  await using client = await pruner(site);
  expect(await carry(client, makePrune(site.archive, { remove: ["home"] }))).toBe("committed");
  writeFileSync(join(site.archive, "home", "thesis.odt"), "mine");
  await sweep(client);
  expect(readdirSync(join(site.archive, "home")).sort()).toEqual(["archive", "thesis.odt"]);
  expect(await carry(client, makePrune(site.archive, { remove: ["work"] }))).toBe("committed");
  await sweep(client);
  expect(existsSync(join(site.archive, "work"))).toBe(false);
});

test.skipIf(noLoopMounts !== undefined)(
  `on a full drive nothing is lost, and what is due still goes${noLoopMounts ? `: skipped, ${noLoopMounts}` : ""}`,
  async () => {
    using mount = loopMount("ext4", 32 * 2 ** 20, ["-q", "-m", "0"]);
    using made = pruneSite();
    execFileSync("cp", ["-r", made.archive, join(mount.path, archiveDirectory)]);
    using target = receiverSite(mount.path);
    const site: PruneSite = { ...made, ...target };
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
  using site = pruneSite();
  await using client = site.start("sparsebak.Prune");
  const { capabilities: can } = await client.hello(site.mountpoint, archiveDirectory);
  expect(can & capabilities.punchHoles).toBe(capabilities.punchHoles);
});
