// Steps that a prune may not take, and what nobody but a prune may: refused, and nothing of the archive has changed
// (protocol.md, P25).

import { join } from "node:path";
import { expect, test } from "vitest";
import { encodeDead } from "../../../protocol/archive/dead-file.ts";
import type { Digest, Generation } from "../../../protocol/archive/types.ts";
import { makePrune, type Prune } from "../../support/prune-writer.ts";
import { carry, dropFirst, expectImages, filesOf, pruner, pruneSite, type PruneSite } from "../prune-site.ts";
import { bytesOf } from "../replay.ts";
import { greeted } from "../site.ts";

const none = new Uint8Array(32) as Digest;
const cases: Record<string, (site: PruneSite) => Prune> = {
  "stale: based on an older head": (site) => {
    const prune = dropFirst(site);
    return { ...prune, commit: { ...prune.commit, base: 2 as Generation } };
  },
  "malformed: another chain": (site) =>
    makePrune(site.archive, { remove: ["home"], alterHead: (head) => ({ ...head, previousChain: none }) }),
  "malformed: a volume in another directory": (site) =>
    makePrune(site.archive, {
      alterHead: (head) => ({
        ...head,
        volumes: head.volumes.map((each) => ({ ...each, directory: `x${each.directory}` })),
      }),
    }),
  "malformed: a container of another name": (site) =>
    makePrune(site.archive, {
      alterIndex: (index) => ({
        ...index,
        containers: index.containers.map((each, i) =>
          i === 0 ? { ...each, name: "S_19990101-000000" as never } : each,
        ),
      }),
    }),
  "malformed: a container that was not there": (site) =>
    makePrune(site.archive, {
      alterIndex: (index) => ({
        ...index,
        containers: [
          ...index.containers,
          {
            ...index.containers[0]!,
            uid: new Uint8Array(16).fill(9) as never,
            name: "S_19990101-000000" as never,
          },
        ],
      }),
    }),
  "malformed: fewer chunks, and the same list": (site) =>
    makePrune(site.archive, {
      alterIndex: (index) => ({
        ...index,
        containers: index.containers.map((each) => ({ ...each, chunks: 1 })),
      }),
    }),
  "missing: a manifest that was never put": (site) => {
    const prune = dropFirst(site);
    return { ...prune, puts: prune.puts.filter(({ name }) => name.kind !== "manifest") };
  },
  "missing: a list that was never put": (site) => {
    const prune = dropFirst(site);
    return { ...prune, puts: prune.puts.filter(({ name }) => name.kind !== "list") };
  },
};

test.each(Object.entries(cases))("%s", async (what, make) => {
  using site = pruneSite();
  const whole = filesOf(site);
  const prune = make(site);
  {
    await using client = await pruner(site);
    expect(await carry(client, prune)).toBe(what.replace(/:.*/, ""));
    await client.goodbye();
  }
  // Nothing of the archive has changed, and what was put is in nobody's way.
  expect(filesOf(site)).toEqual(expect.arrayContaining(whole));
  await using client = await pruner(site);
  expect(await carry(client, dropFirst(site))).toBe("committed");
  await client.goodbye();
  await expectImages(site, [1, 2]);
});

test("sparsebak.Send can put none of what only a prune needs, and drop nothing", async () => {
  using site = pruneSite();
  const prune = dropFirst(site);
  await using client = await greeted(site);
  for (const { name, bytes } of prune.puts) {
    await client.upload(name, bytes);
    const isSends = name.kind === "index" || name.kind === "head";
    expect((await client.next()).type, name.kind).toBe(isSends ? "done" : "refused");
  }
  await client.upload(
    { kind: "archive", generation: 4 as Generation },
    bytesOf(join(site.archive, "archive")),
  );
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "exists" } });
  expect(await client.ask("commit", prune.commit, "refused")).toMatchObject({
    body: { code: "malformed" },
  });
  await expectImages(site, [0, 1, 2]);
});

test("files that are not what they are put as are refused", async () => {
  using site = pruneSite();
  const prune = dropFirst(site);
  for (const kind of ["dead", "manifest", "list"] as const) {
    await using client = await pruner(site);
    const { name } = prune.puts.find((each) => each.name.kind === kind)!;
    const [other] = prune.puts.filter((each) => each.name.kind !== kind);
    await client.upload(name, other!.bytes);
    expect(await client.next(), kind).toMatchObject({ type: "refused", body: { code: "malformed" } });
    await client.upload({ ...name, generation: 7 as Generation }, other!.bytes);
    expect(await client.next(), kind).toMatchObject({ type: "refused", body: { code: "stale" } });
  }
  await using client = await pruner(site);
  const elsewhere = encodeDead({ ...prune.dead, archive: new Uint8Array(16) as never });
  await client.upload({ kind: "dead", generation: 4 as Generation }, elsewhere);
  expect(await client.next()).toMatchObject({ type: "refused", body: { code: "malformed" } });
});
