// A run of the model test: steps dealt from a deck, so that a short run has a bit of everything, and after each step
// every session that any archive lists restored and compared, by spbk-assemble and by the tests' own reader. Chance is drawn anew for each step, so that what one
// step draws does not change the next.

import { readdirSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { expect } from "vitest";
import { random, type Random } from "../../fuzz/random.ts";
import { treeOf } from "../archive-tree.ts";
import { linesOf } from "../site-sessions.ts";
import { leftovers } from "../site.ts";
import { type Card, deal, deckSize, shuffledDeck } from "./deck.ts";
import { type Ledger, type Outcome, reconcile } from "./ledger.ts";
import { type Kind, type Step, steps } from "./steps.ts";
import {
  assembled,
  type Destination,
  destinations,
  type Host,
  listingOf,
  must,
  readAll,
  received,
  type World,
} from "./world.ts";

/** What steps have done to archives, as these have shown it afterwards. */
interface Tally {
  readonly kinds: Set<Kind>;
  /** Sessions that a prune has removed, and tags that a `tag` has set. */
  pruned: number;
  tagged: number;
}

/** Deals `count` cards, and what they need besides. With a whole deck there was some of everything. */
export async function runModel(
  makeWorld: (sealed: boolean, random: Random) => Promise<World>,
  seed: number,
  count: number,
  say: (text: string) => void,
): Promise<void> {
  const chance = random(seed);
  const of = (step: number): Random => random(seed + 7919 * (step + 1));
  // Half of all seeds: the odd ones.
  await using world = await makeWorld(seed % 2 === 1, of(-1));
  await sendAll(world, world.hosts[0], "the first send");
  const kills = { aimed: 0, met: 0 };
  const tally: Tally = { kinds: new Set(), pruned: 0, tagged: 0 };
  let deck: Card[] = [];
  for (let i = 0, dealt = 0; dealt < count; i++) {
    if (deck.length === 0) deck = shuffledDeck(chance);
    const draw = of(i);
    const host = draw.pick(world.hosts);
    const left = deck.length;
    const { card, of: place } = deal(deck, world.ledgers, draw);
    dealt += left - deck.length;
    const step: Step = { world, host, of: place, random: draw, killed: card.killed, kills, say };
    const changes = await host.change(draw.below(4), draw);
    const at = `seed ${seed}, step ${i}, ${card.kind} by the ${host.name} host in ${place}`;
    say(`${at}; volumes: ${changes.join(", ") || "as before"}`);
    const before = world.ledgers[place].sessions;
    const outcomes = await steps[card.kind](step);
    await compare(world, host, outcomes, at, draw);
    note(tally, card.kind, before, world.ledgers[place].sessions);
  }
  say(`kills: ${kills.aimed}, of which ${kills.met} met the command before its end`);
  say(`pruned: ${tally.pruned}, tagged: ${tally.tagged}`);
  if (count >= deckSize) {
    expect([...tally.kinds].sort()).toEqual(Object.keys(steps).sort());
    expect(tally.pruned, "sessions that prunes have removed").toBeGreaterThan(0);
    expect(tally.tagged, "tags that were set and seen").toBeGreaterThan(0);
    expect(kills.met, "most kills meet a command").toBeGreaterThan(kills.aimed / 2);
  }
  // What was interrupted is finished, and nothing is left that no session names.
  for (const host of world.hosts) await sendAll(world, host, `seed ${seed}: the last send of ${host.name}`);
  await world.atRest();
  for (const each of destinations) await finish(world, each, `seed ${seed}: the end of ${each}`);
  // No archive has anything any more that the first host could need them for.
  expect(await world.snapshots(world.hosts[0]), `seed ${seed}: snapshots`).toEqual([]);
}

function note(tally: Tally, kind: Kind, before: Ledger["sessions"], after: Ledger["sessions"]): void {
  tally.kinds.add(kind);
  if (kind === "prune") tally.pruned += [...before.keys()].filter((uid) => !after.has(uid)).length;
  if (kind !== "tag") return;
  for (const { uid, tags } of before.values())
    tally.tagged += (after.get(uid)?.tags ?? []).filter((each) => !tags.includes(each)).length;
}

async function sendAll(world: World, host: Host, at: string): Promise<void> {
  const volumes = host.volumes();
  await must(world, host, "--dest", "all", "send", ...volumes);
  const digests = await host.digests(volumes);
  const appears = new Map([...digests].map(([name, digest]) => [name, { digest, tags: [] }]));
  const outcome: Outcome = { certain: true, appears };
  await compare(world, host, { default: outcome, usb: outcome }, at, random(1));
}

/** Each archive lists what it has to, and all of it restores. One that the step was not to change, and whose every byte is
 *  what it was, still does. */
async function compare(
  world: World,
  host: Host,
  outcomes: Readonly<Partial<Record<Destination, Outcome>>>,
  at: string,
  draw: Random,
): Promise<void> {
  await world.look();
  for (const of of destinations) {
    const ledger = world.ledgers[of];
    const files = treeOf(world.seen(of));
    if (outcomes[of] === undefined && isDeepStrictEqual(files, ledger.files)) continue;
    ledger.files = files;
    reconcile(ledger, await listingOf(world, host, of), outcomes[of] ?? { certain: true }, `${at}: ${of}`);
    const sessions = [...ledger.sessions.values()];
    const sampled = draw.once(3) ? sessions[draw.below(sessions.length || 1)] : undefined;
    const waiting = [...sessions];
    const restoreAll = async (): Promise<void> => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const about = `${at}: ${of}: ${ledger.volumes.get(next.volume)?.name} ${next.uid}`;
        expect(await assembled(world, of, next), about).toBe(next.digest);
      }
    };
    await Promise.all([restoreAll(), restoreAll()]);
    const images = readAll(world, of).sessions.map(({ uid, image }) => [uid, image] as const);
    expect(new Map(images), `${at}: ${of}: read naively`).toEqual(
      new Map(sessions.map(({ uid, digest }) => [uid, digest])),
    );
    if (sampled !== undefined)
      expect(await received(world, host, of, sampled), `${at}: ${of}: received`).toBe(sampled.digest);
    if (world.sealed) {
      world.audits[of].look(world.seen(of));
      expect(world.audits[of], at).toMatchObject({ repeated: [], unsealed: [] });
      if (sessions.length > 0)
        expect(Math.min(world.audits[of].files, world.audits[of].chunks), at).toBeGreaterThan(0);
    }
  }
}

/** Prunes an archive, in which there is nothing then that no session names, and deletes all: nothing is there then. */
async function finish(world: World, of: Destination, at: string): Promise<void> {
  const [host] = world.hosts;
  await must(world, host, "--dest", of, "prune", "--all", "--keep-last", "1");
  const checked = await must(world, host, "--json", "--dest", of, "check", "--read-data");
  expect(
    linesOf(checked).filter((each) => "extras" in each || "unneeded" in each),
    at,
  ).toEqual([]);
  await world.look();
  const archive = world.seen(of);
  expect(leftovers(archive), at).toEqual([]);
  const { sessions, stored } = readAll(world, of);
  expect([...stored].sort(), at).toEqual([...new Set(sessions.flatMap((each) => [...each.files]))].sort());
  await must(world, host, "--dest", of, "delete", "--all", "--yes");
  await world.look();
  expect(chunkFilesOf(archive), at).toEqual([]);
}

function chunkFilesOf(archive: string): readonly string[] {
  const files = readdirSync(archive, { recursive: true, encoding: "utf8" });
  return files.filter((each) => /\/x[0-9a-f]{16}$|\.tar$/.test(each));
}
