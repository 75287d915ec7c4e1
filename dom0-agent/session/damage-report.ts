// What verify says of damage: by sessions, as ranges of addresses, with the first reasons.

import { type Bitmap, countSet } from "../delta/bitmap.ts";
import { rangesOf, rangeText } from "./address-ranges.ts";
import type { Context } from "./context.ts";
import type { VolumeOutcome } from "./each-volume.ts";

export interface Damage {
  readonly session: string;
  /** Bytes of the volume. */
  readonly size: number;
  /** Chunks that can't be restored. */
  readonly damaged: Bitmap;
  /** The first reasons. */
  readonly reasons: readonly string[];
  /** Why none of the session can be restored: a manifest is missing or damaged. */
  readonly whole?: string | undefined;
}

const mostRanges = 1000;

/** Says what is damaged, and gives what the volume came to. */
export function damageOutcome(
  context: Context,
  volume: string,
  chunkSize: number,
  found: readonly Damage[],
  readBytes: number,
): VolumeOutcome {
  const bad = found.filter((each) => each.whole !== undefined || countSet(each.damaged) > 0);
  const named = found.length === 1 ? (found[0]?.session ?? "") : `${found.length} sessions`;
  if (bad.length === 0) {
    return {
      message: `${named}: every chunk is right`,
      fields: { sessions: found.map((each) => each.session), readBytes },
    };
  }
  for (const each of bad) {
    const ranges = rangesOf(each.damaged, chunkSize, each.size, mostRanges);
    const chunks = countSet(each.damaged);
    const text = each.whole ?? `${chunks} chunks can't be restored: ${ranges.map(rangeText).join(" ")}`;
    context.report.warn(`${volume}: ${each.session}: ${text}`, {
      volume,
      session: each.session,
      damagedChunks: each.whole === undefined ? chunks : undefined,
      ranges: each.whole === undefined ? ranges : undefined,
    });
    for (const reason of each.reasons) context.report.notice(`${volume}: ${each.session}: ${reason}`);
  }
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
