// A prune that is killed at any change, from the first put to the end of the sweep: the next run finishes it.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { scrubbed } from "../../support/scrubbed.ts";
import { countedChanges, startMortal } from "../mortal.ts";
import { carry, dropFirst, expectImages, filesOf, pruneSite, sweep } from "../prune-site.ts";
import { archiveDirectory } from "../site.ts";

test.each(["dir", "tar"] as const)(
  "form %s: killed at any change, it is finished by the next run",
  async (form) => {
    using site = pruneSite(form);
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
    const wanted = filesOf(site);
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
      expect(filesOf(site), `killed at ${at} of ${changes}`).toEqual(wanted);
      await client.goodbye();
      expect(await scrubbed(site.archive), `killed at ${at} of ${changes}`).toEqual({
        damage: [],
        remarks: [],
      });
    }
    await expectImages(site, [1, 2]);
  },
  120_000,
);
