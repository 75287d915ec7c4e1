// What the parts of a scrub of one container are given.

import type { Container } from "../../protocol/archive/index-file.ts";
import type { Generation, VolumeId } from "../../protocol/archive/types.ts";
import type { DamagedFile, DamageKind } from "../../protocol/wire/messages.ts";
import type { Directory } from "../directory.ts";
import type { Trash } from "../store/dead-lists.ts";
import type { History } from "./history.ts";

export interface ScrubOptions {
  /** The volume's. */
  readonly directory: Directory;
  readonly volume: VolumeId;
  readonly container: Container;
  /** Of the newest head. */
  readonly generation: Generation;
  readonly chunkSize: number;
  /** What is dead and waits is nothing that shouldn't be there. */
  readonly trash: Trash;
  /** Asked for where something lies there that the index no longer names. */
  readonly history: () => Promise<History>;
  readonly onDamage: Report;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Hears of damage; `number` is the address of a chunk, or N of a numbered file; `name` that of a file that has no other
 *  place, below the container's directory. */
export type Report = (file: DamagedFile, what: DamageKind, number?: number, name?: string) => void;
