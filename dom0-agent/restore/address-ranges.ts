// Which part of a volume is meant, for people and programs.

import { type Bitmap, runsOf } from "../delta/bitmap.ts";

/** Bytes of the volume. */
export interface AddressRange {
  readonly offset: number;
  readonly length: number;
}

/** The stretches of set chunks, at most `most` of them. */
export function rangesOf(
  chunks: Bitmap,
  chunkSize: number,
  size: number,
  most: number,
): readonly AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const { start, count } of runsOf(chunks)) {
    if (ranges.length === most) break;
    const offset = start * chunkSize;
    ranges.push({ offset, length: Math.min(size, offset + count * chunkSize) - offset });
  }
  return ranges;
}

/** `x0000000000020000+131072`, as chunk files are named. */
export function rangeText({ offset, length }: AddressRange): string {
  return `x${offset.toString(16).padStart(16, "0")}+${length}`;
}
