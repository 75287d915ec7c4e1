// Heads that are no longer wanted, and the indexes that only they name. A few of the newest stay. Which still exist is
// asked of the receiver: they are a stretch of numbers that ends with the current one.

import { decodeHead, type Head, headMacInput, maxHeadBytes } from "../../protocol/archive/head.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { macFits } from "../../protocol/seal/keys.ts";
import { metaOf, type OpenArchive } from "../archive/archive.ts";
import { isDamage } from "../archive/read-or-copy.ts";

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
  // By volume. Heads and volumes may be thousands each: a number is all that is kept of an index.
  const found = new Map<string, Set<Generation>>();
  let read = 0;
  let at = oldest;
  for (; at < end && read < mostBytes; at++) {
    const head = await readOldHead(open, at);
    read += head?.bytes ?? 0;
    for (const each of head?.head.volumes ?? []) {
      const volume = toHex(each.volume);
      const generations = found.get(volume) ?? new Set();
      found.set(volume, generations.add(each.indexGeneration));
    }
  }
  if (at === oldest) return { headsBelow: 0 as Generation, indexes: new Map() };
  // Every head from `at` on stays, and so does what it names. An index has one stretch of heads that name it, so those
  // behind the first that stays name none that only heads before it do.
  const next = at === current ? open.head : (await readOldHead(open, at))?.head;
  if (next === undefined) return { headsBelow: at as Generation, indexes: new Map() };
  for (const head of [next, open.head])
    for (const each of head.volumes) found.get(toHex(each.volume))?.delete(each.indexGeneration);
  const indexes = [...found]
    .filter(([, generations]) => generations.size > 0)
    .map(([volume, generations]) => [volume, [...generations].sort((a, b) => a - b)] as const);
  return { headsBelow: at as Generation, indexes: new Map(indexes) };
}

/** The lowest head that is there, at most `end`. */
async function oldestHead(open: OpenArchive, end: number): Promise<number> {
  let low = 1;
  let high = Math.max(1, end);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (await isThere(open, middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One that is damaged, or that the drive can't read any more, is there. */
async function isThere(open: OpenArchive, at: number): Promise<boolean> {
  try {
    return (await open.client.read(metaOf("head", at), maxHeadBytes, () => undefined)) !== undefined;
  } catch (error) {
    if (isDamage(error)) return true;
    throw error;
  }
}

/** An older head, if it is there, can be read and is dom0's own. */
async function readOldHead(
  open: OpenArchive,
  at: number,
): Promise<{ readonly head: Head; readonly bytes: number } | undefined> {
  try {
    const raw = await open.client.readWhole(metaOf("head", at), maxHeadBytes);
    if (raw === undefined) return undefined;
    const head = decodeHead(raw, { archive: open.record.uuid, generation: at as Generation });
    if (macFits(open.keys.head, headMacInput(head), head.mac)) return { head, bytes: raw.length };
  } catch (error) {
    if (!(error instanceof FormatError) && !isDamage(error)) throw error;
  }
  return undefined;
}
