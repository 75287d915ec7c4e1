// A dead list alone makes nothing dead: what the current head names stays, and so does what is somebody else's by now
// (archive-format.md, F34).

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { DeadFile } from "../../../protocol/archive/dead-file.ts";
import type { Generation } from "../../../protocol/archive/types.ts";
import { createTestArchive } from "../../support/archive-writer.ts";
import { makePrune } from "../../support/prune-writer.ts";
import {
  carry,
  dropFirst,
  expectImages,
  filesOf,
  pruner,
  pruneSite,
  type PruneSite,
  sweep,
} from "../prune-site.ts";
import { sourceState } from "../replay.ts";
import { greeted, randomImage } from "../site.ts";

/** A list that wants all of `work`. */
const everything = (site: PruneSite): DeadFile => {
  const dead = dropFirst(site).dead;
  const [work] = dead.volumes;
  const all = site.source.sessionsOf("work").map(({ uid, name, form }) => ({ uid, name, form }));
  return {
    ...dead,
    archives: [0 as Generation],
    volumes: [
      {
        ...work!,
        indexes: [1, 2, 3] as Generation[],
        containers: all.map((each, i) => ({
          ...each,
          whole: i === 2,
          manifests: (i === 2 ? [] : [i + 1]) as Generation[],
          lists: (i === 2 ? [] : [0]) as Generation[],
          chunks: i === 2 ? [] : [{ address: 0 as never, count: 24 }],
        })),
      },
    ],
  };
};

test("what the current head names stays, whatever the list says", async () => {
  using site = pruneSite();
  await using client = await pruner(site);
  // A step that changes a tag, with a list that wants everything.
  const step = makePrune(site.archive, {
    alterIndex: (index) =>
      index.name === "work"
        ? { ...index, sessions: index.sessions.map((each) => ({ ...each, tags: ["tag"] })) }
        : index,
    alterDead: () => everything(site),
  });
  expect(await carry(client, step)).toBe("committed");
  await sweep(client);
  await expectImages(site, [0, 1, 2]);
  const left = filesOf(site);
  expect(left).toContain("./archive");
  expect(left).toContain("./work/index.4");
  expect(left).not.toContain("./work/index.3");
  expect(left).not.toContain("./heads/3");
  for (const { name } of site.source.sessionsOf("work")) expect(left).toContain(`./work/${name}/list`);
});

test("a volume that is there is not removed, and one that came back under its directory keeps what is its", async () => {
  using site = pruneSite();
  {
    await using client = await pruner(site);
    const gone = makePrune(site.archive, { remove: ["home"] });
    // Kept for a while: the sweep comes after a new volume has moved into the directory.
    expect(await carry(client, gone)).toBe("committed");
    await client.goodbye();
  }
  const other = createTestArchive(join(site.path, "other"), { header: site.source.header });
  other.send({ home: randomImage(5) });
  const state = sourceState(other.path, 1);
  const session = state.sessions[0]!;
  {
    await using sender = await greeted(site);
    await sender.ask(
      "beginSession",
      { ...session.begin, name: "S_20300101-000000" as never, generation: 5 as Generation },
      "done",
    );
    await sender.send("chunk", session.chunk(session.entries[0]!));
    sender.child.kill("SIGKILL");
    await sender.ended;
  }
  await using client = await pruner(site);
  await sweep(client);
  const left = readdirSync(join(site.archive, "home")).sort();
  expect(left).toEqual(["S_20300101-000000.part", "archive"]);
});
