// What a target is, and what a finding.

import { FormatError } from "../../protocol/errors.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { Random } from "./random.ts";

/** A finding: what was fed, so that it can be fed again. */
export class Finding extends Error {
  override readonly name: string = "Finding";
}

export interface Target {
  readonly name: string;
  /** Feeds one input and gives how many frames, files or steps it held. Throws Finding. */
  readonly feed: (random: Random) => number | Promise<number>;
  /** Its frames take many times as long as those of the others: it gets a fiftieth of their number. */
  readonly slow?: boolean;
  /** Lets go of what it works on. Throws Finding. */
  readonly end?: () => void;
}

/** What `run` gives; undefined where it throws a FormatError, which is what a decoder may do. */
export function orFormatError<T>(what: string, input: Uint8Array, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw new Finding(`${what}: ${String(error)} from ${toHex(input)}`, { cause: error });
  }
}
