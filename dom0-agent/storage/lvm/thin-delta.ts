// thin_delta's answer, read as it comes: one element after another, nothing of it kept. It counts only if it is complete,
// of the snapshots that were asked for, and the tool ended well; half an answer must never look like "nothing more".

import { StorageError } from "../storage.ts";
import type { Extent } from "../../delta/extent.ts";

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

/** Longest element that is read: they have a few attributes. */
const maxElement = 1024;

const superblock = /^<superblock(?: [a-z_]+="[^"<>]*")*>$/;
const blockSize = / data_block_size="(\d{1,9})"/;
const diff = /^<diff left="(\d{1,9})" right="(\d{1,9})">$/;
const stretch = /^<(different|same|left_only|right_only) begin="(\d{1,15})" length="(\d{1,15})" ?\/>$/;

/** A parser of the delta between the devices `left` and `right` of a pool whose chunks have `poolChunkSize` bytes. */
export function deltaParser(left: number, right: number, poolChunkSize: number): DeltaParser {
  let rest = "";
  let state: "start" | "superblock" | "diff" | "diffDone" | "end" = "start";
  let next = 0;

  const fail = (what: string): never => {
    throw new StorageError("tool", `read what thin_delta printed: ${what} (in ${state})`);
  };
  const wrong = (element: string): never => fail(`found «${element.slice(0, 120)}»`);

  const takeStretch = (element: string): DeltaExtent => {
    const [, kind, beginText, lengthText] = stretch.exec(element) ?? wrong(element);
    const begin = Number(beginText);
    const length = Number(lengthText);
    if (begin < next || length < 1 || (begin + length) * poolChunkSize > Number.MAX_SAFE_INTEGER)
      wrong(element);
    next = begin + length;
    return { kind: kind as DeltaKind, offset: begin * poolChunkSize, length: length * poolChunkSize };
  };
  const take = (element: string): DeltaExtent | undefined => {
    switch (state) {
      case "start": {
        const sectors = superblock.test(element) ? blockSize.exec(element)?.[1] : wrong(element);
        if (Number(sectors) * 512 !== poolChunkSize) {
          fail(`found pool chunks of ${sectors ?? "no"} sectors, wanted ${poolChunkSize / 512}`);
        }
        state = "superblock";
        return undefined;
      }
      case "superblock": {
        const found = diff.exec(element) ?? wrong(element);
        if (Number(found[1]) !== left || Number(found[2]) !== right) wrong(element);
        state = "diff";
        return undefined;
      }
      case "diff":
        if (element !== "</diff>") return takeStretch(element);
        state = "diffDone";
        return undefined;
      case "diffDone":
        if (element !== "</superblock>") wrong(element);
        state = "end";
        return undefined;
      case "end":
        return wrong(element);
    }
  };

  return {
    push: (untrustedText) => {
      const found: DeltaExtent[] = [];
      const text = rest + untrustedText;
      let start = 0;
      for (;;) {
        const end = text.indexOf(">", start);
        const element = text.slice(start, end < 0 ? undefined : end + 1);
        if (element.length > maxElement) wrong(element);
        if (end < 0) break;
        const extent = take(element.trimStart());
        if (extent !== undefined) found.push(extent);
        start = end + 1;
      }
      rest = text.slice(start);
      return found;
    },
    end: () => {
      if (rest.trim() !== "") wrong(rest);
      if (state !== "end") fail("it ended too early");
    },
  };
}
