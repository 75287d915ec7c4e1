// The deck that the model test's steps are dealt from: some of every kind, in an order that chance chooses. A step that could
// do nothing yet waits, so that of every kind one is taken that does something and is not killed.

import type { Random } from "../../fuzz/random.ts";
import { freeSessionsOf, type Ledger, newestOf } from "./ledger.ts";
import type { Kind } from "./steps.ts";
import { type Destination, destinations, type Kill, names, tags } from "./world.ts";

/** A step to be taken. */
export interface Card {
  readonly kind: Kind;
  /** Who is killed in its middle. */
  readonly killed?: Kill["who"];
}

/** How often a step is in a deck; and how many of them are killed, half of those that change an archive. */
const weights: Readonly<Record<Kind, { readonly times: number; readonly killed: number }>> = {
  send: { times: 7, killed: 3 },
  prune: { times: 4, killed: 2 },
  delete: { times: 2, killed: 1 },
  rename: { times: 2, killed: 1 },
  add: { times: 2, killed: 1 },
  tag: { times: 2, killed: 1 },
  untag: { times: 1, killed: 0 },
  monitor: { times: 2, killed: 1 },
  rollback: { times: 1, killed: 0 },
  check: { times: 1, killed: 0 },
};

export const deckSize: number = Object.values(weights).reduce((sum, { times }) => sum + times, 0);

/** Where a step of the kind would do something; in any archive unless said here. */
const needs: Partial<Record<Kind, (ledger: Ledger) => boolean>> = {
  prune: (ledger) => [...ledger.volumes.keys()].some((uid) => freeSessionsOf(ledger, uid).length > 0),
  rename: (ledger) => ledger.volumes.size < names.length,
  tag: (ledger) => newestOf(ledger).some((each) => each.tags.length < tags.length),
  untag: (ledger) => newestOf(ledger).some((each) => each.tags.length > 0),
};

/** A step that brings about what steps of the kind wait for. */
const opens: Partial<Record<Kind, Kind>> = { prune: "send", rename: "delete", tag: "send", untag: "tag" };

/** With so many sessions in an archive the next step prunes it. */
const tooMany = 6;

/** A whole deck; its last card is dealt first. */
export function shuffledDeck(chance: Random): Card[] {
  const deck = Object.entries(weights).flatMap(([kind, { times, killed }]) => {
    const first = chance.below(2);
    return Array.from({ length: times }, (_, i): Card => {
      const who = (["agent", "receiver"] as const)[(first + i) % 2];
      return { kind: kind as Kind, ...(i < killed && who !== undefined ? { killed: who } : {}) };
    });
  });
  for (let i = deck.length - 1; i > 0; i--) {
    const j = chance.below(i + 1);
    [deck[i], deck[j]] = [deck[j]!, deck[i]!];
  }
  return deck;
}

/** Takes the next step that would do something out of the deck, which has one at least; or gives one that the others need
 *  first, and leaves the deck as it is. */
export function deal(
  deck: Card[],
  ledgers: Readonly<Record<Destination, Ledger>>,
  draw: Random,
): { readonly card: Card; readonly of: Destination } {
  const places = (kind: Kind): Destination[] =>
    destinations.filter((each) => needs[kind]?.(ledgers[each]) ?? true);
  const take = (kind: Kind): Card => {
    const at = deck.findLastIndex((each) => each.kind === kind);
    return deck.splice(at, at < 0 ? 0 : 1)[0] ?? { kind };
  };
  const empty = destinations.find((each) => ledgers[each].sessions.size === 0);
  if (empty !== undefined) return { card: take("add"), of: empty };
  const crowded = places("prune").find((each) => ledgers[each].sessions.size > tooMany);
  if (crowded !== undefined) return { card: take("prune"), of: crowded };
  const next = deck.findLast(({ kind }) => places(kind).length > 0);
  if (next !== undefined) {
    deck.splice(deck.lastIndexOf(next), 1);
    return { card: next, of: draw.pick(places(next.kind)) };
  }
  const needed = opens[deck.at(-1)!.kind]!;
  return { card: { kind: needed }, of: draw.pick(destinations) };
}
