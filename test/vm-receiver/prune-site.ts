// What the tests of prunes begin with: an archive with a history to prune, as a receiver's service sees it.

import { execFileSync } from "node:child_process";
import { expect } from "vitest";
import { sha256 } from "../../protocol/archive/prefix.ts";
import { assembleVolume } from "../../vm-receiver/assemble/assemble.ts";
import type { AgentClient } from "../support/agent-client.ts";
import { createTestArchive, type TestArchive } from "../support/archive-writer.ts";
import { makePrune, type Prune } from "../support/prune-writer.ts";
import { greeted, randomImage, receiverSite, type ReceiverSite } from "./site.ts";

export interface PruneSite extends ReceiverSite {
  /** Of `work`, by session. */
  readonly images: readonly Uint8Array[];
  readonly source: TestArchive;
}
const chunk = 65_536;

/** An archive of three sessions of `work`, and one of `home`, at the site. Each rewrites a part of the one before. */
export function pruneSite(form: "dir" | "tar" = "dir"): PruneSite {
  const site = receiverSite();
  const first = randomImage(24);
  const second = first.slice();
  second.set(randomImage(6), 4 * chunk);
  const third = second.slice();
  third.set(randomImage(6), 8 * chunk);
  const source = createTestArchive(site.archive);
  const images = [first, second, third];
  source.send({ home: randomImage(8), work: first }, { form });
  for (const image of images.slice(1)) source.send({ work: image }, { form });
  return { ...site, images, source };
}

/** The name of the first session of `work`. */
export function firstSession(site: PruneSite): string {
  return site.source.sessionsOf("work")[0]!.name;
}

export function dropFirst(site: PruneSite): Prune {
  const first = firstSession(site);
  return makePrune(site.archive, { drop: (_, { name }, volume) => volume === "work" && name === first });
}

export async function pruner(site: ReceiverSite): Promise<AgentClient> {
  return greeted(site, "sparsebak.Prune");
}

/** Puts everything and commits; gives what the answer was. */
export async function carry(client: AgentClient, prune: Prune): Promise<string> {
  for (const { name, bytes } of prune.puts) await client.put(name, bytes);
  await client.send("commit", prune.commit);
  const answer = await client.next();
  return answer.type === "refused" ? answer.body.code : answer.type;
}

/** Gives how many bytes it has freed. */
export async function sweep(client: AgentClient): Promise<number> {
  const answer = await client.ask("sweep", {}, "done");
  return answer.type === "done" ? answer.body.bytes : Number.NaN;
}

/** The sessions of `work` that are listed must still be what they were: `kept` by their number. */
export async function expectImages(site: PruneSite, kept: readonly number[]): Promise<void> {
  const sessions = site.source.sessionsOf("work");
  for (const i of kept) {
    const { imageDigest } = await assembleVolume({
      archivePath: site.archive,
      volumeDirectory: "work",
      session: sessions[i]!.uid,
      output: { kind: "none" },
      signal: new AbortController().signal,
    });
    expect(imageDigest).toEqual(sha256(site.images[i]!));
  }
}

/** Every file of the archive, below it, sorted. */
export function filesOf(site: ReceiverSite): string[] {
  return execFileSync("find", [".", "-type", "f"], { cwd: site.archive, encoding: "utf8" })
    .trim()
    .split("\n")
    .filter((each) => each !== "./lock" && each !== "./README.txt" && !each.startsWith("./copies/"))
    .sort();
}
