// thin_delta's answer, read as it comes: one element a line, nothing of it kept. It counts only if it is complete, of
// the snapshots that were asked for, and the tool ended well; half an answer must never look like "nothing more".

import { StorageError } from "../storage.ts";
import type { Extent } from "../storage.ts";

/** What thin_delta says of a stretch. `same` is mapped on both sides to the same data. */
export type DeltaKind = "different" | "same" | "left_only" | "right_only";

export interface DeltaExtent extends Extent {
  readonly kind: DeltaKind;
}

export interface DeltaParser {
  /** Takes the next text; gives the stretches that it completes, in bytes. Throws StorageError `tool`. */
  push(untrustedText: string): readonly DeltaExtent[];
  /** Call at the end: throws unless the answer was complete. */
  end(): void;
}

/** Longest line that is read: elements have a few attributes. */
const maxLine = 4096;

/** A parser of the delta between the devices `left` and `right` of a pool whose chunks have `poolChunkSize` bytes. */
export function deltaParser(left: number, right: number, poolChunkSize: number): DeltaParser {
  let rest = "";
  let state: "start" | "superblock" | "diff" | "diffDone" | "end" = "start";
  let next = 0;

  const wrong = (line: string): never => {
    throw new StorageError("tool", `read what thin_delta printed: found «${line.slice(0, 120)}» (${state})`);
  };
  const take = (line: string): DeltaExtent | undefined => {
    if (line === "") return undefined;
    if (state === "start") {
      const size = /^<superblock [^<>]*\bdata_block_size="(\d+)"[^<>]*>$/.exec(line)?.[1];
      if (size === undefined || Number(size) * 512 !== poolChunkSize) wrong(line);
      state = "superblock";
    } else if (state === "superblock") {
      const match = /^<diff left="(\d+)" right="(\d+)">$/.exec(line);
      if (match === null || Number(match[1]) !== left || Number(match[2]) !== right) wrong(line);
      state = "diff";
    } else if (state === "diff" && line === "</diff>") state = "diffDone";
    else if (state === "diffDone" && line === "</superblock>") state = "end";
    else if (state === "diff") {
      const match = /^<(different|same|left_only|right_only) begin="(\d{1,15})" length="(\d{1,15})"\/>$/.exec(
        line,
      );
      const begin = Number(match?.[2]);
      const length = Number(match?.[3]);
      if (match === null || begin < next || length < 1) wrong(line);
      next = begin + length;
      return { kind: match?.[1] as DeltaKind, offset: begin * poolChunkSize, length: length * poolChunkSize };
    } else wrong(line);
    return undefined;
  };

  return {
    push: (untrustedText) => {
      const lines = (rest + untrustedText).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > maxLine) wrong(rest);
      return lines.flatMap((line) => take(line.trim()) ?? []);
    },
    end: () => {
      if (rest.trim() !== "") take(rest.trim());
      rest = "";
      if (state !== "end")
        throw new StorageError("tool", `read what thin_delta printed: it ended too early (${state})`);
    },
  };
}

/** Neighbouring stretches as one, all of them clamped to `size` bytes. They must rise; the source is read to its end,
 *  where it says whether it was complete. */
export async function* clampedExtents(extents: AsyncIterable<Extent>, size: number): AsyncGenerator<Extent> {
  let current: { offset: number; length: number } | undefined;
  for await (const { offset, length } of extents) {
    if (offset >= size) continue;
    const clamped = Math.min(length, size - offset);
    if (current !== undefined && current.offset + current.length === offset) current.length += clamped;
    else {
      if (current !== undefined) yield current;
      current = { offset, length: clamped };
    }
  }
  if (current !== undefined) yield current;
}
