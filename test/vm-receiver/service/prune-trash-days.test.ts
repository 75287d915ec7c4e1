// What a prune has made dead is kept for its time, which is trash-days of the settings (archive-format.md, F35).

import { existsSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makePrune } from "../../support/prune-writer.ts";
import { carry, expectImages, filesOf, firstSession, pruner, pruneSite, sweep } from "../prune-site.ts";
import { greeted, type ReceiverSite } from "../site.ts";

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
  using site = pruneSite();
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
  const whole = filesOf(site);
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
    await using sender = await greeted(site);
    expect(await sender.listPending()).toEqual([]);
    for (const { uid } of site.source.sessionsOf("work")) {
      const asked = { directory: "work", session: uid };
      expect(await sender.ask("discard", asked, "refused")).toMatchObject({ body: { code: "missing" } });
      expect(await sender.salvage("work", uid)).toBeUndefined();
    }
    await sender.goodbye();
  }
  expect(filesOf(site)).toEqual(whole);
  age(site, 31);
  await using client = await pruner(site);
  expect(await sweep(client)).toBeGreaterThan(0);
  expect(existsSync(join(site.archive, "dead", "4"))).toBe(false);
  await expectImages(site, [2]);
});

test("lowering takes the setting; a list from the future waits; a record that says nothing stops the sweep", async () => {
  using site = pruneSite();
  writeFileSync(join(site.archive, "trash"), thirtyDays);
  const later = makePrune(site.archive, {
    drop: (_, { name }) => name === firstSession(site),
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
