// Heads that are no longer wanted, and the indexes that only they name. A few of the newest stay. Which still exist is
// asked of the receiver: they are a stretch of numbers that ends with the current one.

import { decodeHead, type Head, headMacInput, maxHeadBytes } from "../../protocol/archive/head.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { macFits } from "../../protocol/seal/keys.ts";
import { metaOf, type OpenArchive } from "../session/archive.ts";

export interface OldHeads {
  /** `heads/K` with K below this go; 0: none. */
  readonly headsBelow: Generation;
  /** By hexadecimal volume id: generations of the indexes that go, rising. */
  readonly indexes: ReadonlyMap<string, readonly Generation[]>;
}

/** Heads that stay, the one that is being made included. */
const keptHeads = 3;
/** Bytes of heads that are read for one prune: what is left goes with the next. */
const maxReadBytes = 64 * 1024 * 1024;

/** What the step to the next head no longer needs of older heads. `kept` heads stay, 2 at least: the current one and the
 *  one that is being made. */
export async function oldHeads(
  open: OpenArchive,
  { kept, mostBytes }: { readonly kept: number; readonly mostBytes: number } = {
    kept: keptHeads,
    mostBytes: maxReadBytes,
  },
): Promise<OldHeads> {
  const current = open.head.generation;
  const end = current + 2 - kept;
  const oldest = await oldestHead(open, end);
  const wanted = new Set<string>();
  const found = new Map<string, { readonly volume: string; readonly generation: Generation }>();
  const keyOf = (volume: string, generation: Generation): string => `${volume} ${generation}`;
  let read = 0;
  let at = oldest;
  for (; at < end && read < mostBytes; at++) {
    const head = await readOldHead(open, at);
    read += head?.bytes ?? 0;
    for (const each of head?.head.volumes ?? []) {
      const volume = toHex(each.volume);
      found.set(keyOf(volume, each.indexGeneration), { volume, generation: each.indexGeneration });
    }
  }
  if (at === oldest) return { headsBelow: 0 as Generation, indexes: new Map() };
  // Every head from `at` on stays, and so does what it names. An index has one stretch of heads that name it, so those
  // behind the first that stays name none that only heads before it do.
  const next = at === current ? open.head : (await readOldHead(open, at))?.head;
  for (const head of [next, open.head])
    for (const each of head?.volumes ?? []) wanted.add(keyOf(toHex(each.volume), each.indexGeneration));
  const indexes = new Map<string, Generation[]>();
  if (next === undefined) return { headsBelow: at as Generation, indexes };
  for (const [key, { volume, generation }] of found) {
    if (!wanted.has(key)) indexes.set(volume, [...(indexes.get(volume) ?? []), generation]);
  }
  for (const each of indexes.values()) each.sort((a, b) => a - b);
  return { headsBelow: at as Generation, indexes };
}

/** The lowest head that is there, at most `end`. */
async function oldestHead(open: OpenArchive, end: number): Promise<number> {
  let low = 1;
  let high = Math.max(1, end);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const length = await open.client.read(metaOf("head", middle), maxHeadBytes, () => undefined);
    if (length === undefined) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** An older head, if it is there and dom0's own. */
async function readOldHead(
  open: OpenArchive,
  at: number,
): Promise<{ readonly head: Head; readonly bytes: number } | undefined> {
  const raw = await open.client.readWhole(metaOf("head", at), maxHeadBytes);
  if (raw === undefined) return undefined;
  try {
    const head = decodeHead(raw, { archive: open.record.uuid, generation: at as Generation });
    if (macFits(open.keys.head, headMacInput(head), head.mac)) return { head, bytes: raw.length };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
  return undefined;
}
