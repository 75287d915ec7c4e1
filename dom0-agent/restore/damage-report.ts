// What verify says of damage: by sessions, as ranges of addresses, with the first reasons.

import { countText } from "../units.ts";
import { type Bitmap, countSet } from "../delta/bitmap.ts";
import { type AddressRange, rangesOf, rangeText } from "./address-ranges.ts";
import type { Context } from "../context.ts";
import type { VolumeOutcome } from "./each-volume.ts";

/** What is damaged of one session. */
export interface Damage {
  readonly session: string;
  /** Chunks of the volume that can't be restored, and where they are: the first of those stretches. */
  readonly chunks: number;
  readonly ranges: readonly AddressRange[];
  /** The first reasons. */
  readonly reasons: readonly string[];
  /** Why none of the session can be restored: a manifest is missing or damaged. */
  readonly whole?: string | undefined;
}

const mostRanges = 1000;
/** Stretches that are printed for people. */
const mostShown = 16;

/** The damage of a session of a volume of `size` bytes, by its chunks. */
export function damageOf(
  session: string,
  damaged: Bitmap,
  size: number,
  chunkSize: number,
  reasons: readonly string[],
): Damage {
  const ranges = rangesOf(damaged, chunkSize, size, mostRanges);
  return { session, chunks: countSet(damaged), ranges, reasons };
}

/** That of a session of which nothing can be restored. */
export function wholeDamage(session: string, whole: string): Damage {
  return { session, chunks: 0, ranges: [], reasons: [], whole };
}

export function isDamaged({ chunks, whole }: Damage): boolean {
  return whole !== undefined || chunks > 0;
}

/** Says what is damaged of one session. */
export function sayDamage(context: Context, volume: string, damage: Damage): void {
  const { session, chunks, ranges, reasons, whole } = damage;
  const shown = ranges.slice(0, mostShown).map(rangeText).join(" ");
  const more = ranges.length > mostShown ? " …" : "";
  context.report.warn(
    `${volume}: ${session}: ${whole ?? `${countText(chunks, "chunk")} can't be restored: ${shown}${more}`}`,
    {
      volume,
      session,
      damagedChunks: whole === undefined ? chunks : undefined,
      ranges: whole === undefined ? ranges : undefined,
    },
  );
  for (const reason of reasons) context.report.notice(`${volume}: ${session}: ${reason}`);
}

/** Says what is damaged, and gives what the volume came to. */
export function damageOutcome(
  context: Context,
  volume: string,
  found: readonly Damage[],
  readBytes: number,
): VolumeOutcome {
  const bad = found.filter(isDamaged);
  const named = found.length === 1 ? (found[0]?.session ?? "") : countText(found.length, "session");
  if (bad.length === 0) {
    return {
      message: `${named}: every chunk is right`,
      fields: { sessions: found.map((each) => each.session), readBytes },
    };
  }
  for (const each of bad) sayDamage(context, volume, each);
  return {
    message: `${bad.length} of ${found.length} sessions are damaged: ${bad.map((each) => each.session).join(", ")}`,
    fields: {
      sessions: found.map((each) => each.session),
      damaged: bad.map((each) => each.session),
      readBytes,
    },
    reason: "integrity",
  };
}
