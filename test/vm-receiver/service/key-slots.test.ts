// Another archive header, for key slots that have changed: archive.N takes the place of `archive` and of its copies.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { decodeArchiveHeader, encodeArchiveHeader } from "../../../protocol/archive/archive-header.ts";
import { fileDigest } from "../../../protocol/archive/prefix.ts";
import type { Generation } from "../../../protocol/archive/types.ts";
import { createTestArchive } from "../../support/archive-writer.ts";
import { makePrune } from "../../support/prune-writer.ts";
import { carry, pruner, pruneSite, sweep } from "../prune-site.ts";
import { bytesOf, sourceState } from "../replay.ts";
import { greeted, randomImage } from "../site.ts";

test("key slots are changed: archive.N with its copies, by which a volume's directory still says whose it is", async () => {
  using site = pruneSite();
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
  await using sender = await greeted(site);
  const other = createTestArchive(join(site.path, "other"), { header: site.source.header });
  other.send({ mail: randomImage(5) });
  const { begin } = sourceState(other.path, 1).sessions[0]!;
  await sender.ask("beginSession", { ...begin, generation: 5 as Generation }, "done");
  expect(bytesOf(join(site.archive, "mail", "archive.4"))).toEqual(now);
});
