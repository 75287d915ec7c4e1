// What a target is, and what a finding.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

/** A target whose inputs are files of a directory, which is made with the first. */
export function inDirectory(name: string, make: (directory: string) => (random: Random) => void): Target {
  let directory: string | undefined;
  let feed: ((random: Random) => void) | undefined;
  return {
    name,
    feed: (random) => {
      // In memory, where there is a place for it: the writers sync.
      directory ??= mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "sparsebak-fuzz-"));
      feed ??= make(directory);
      feed(random);
      return 1;
    },
    end: () => {
      if (directory !== undefined) rmSync(directory, { recursive: true });
      directory = feed = undefined;
    },
  };
}

/** What `read` gives; undefined where it throws an error of the kind that says so of damage. */
export function orDamaged<T>(
  what: string,
  input: Uint8Array,
  damage: new (...args: never[]) => Error,
  read: () => T,
): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof damage) return undefined;
    throw new Finding(`${what}: ${String(error)} from ${toHex(input)}`, { cause: error });
  }
}

/** The bytes of a file; none where it is not there. */
export function bytesAt(path: string): Uint8Array {
  return existsSync(path) ? new Uint8Array(readFileSync(path)) : new Uint8Array(0);
}
