// Copies of lost chunks, by the places that sessions refer to: what they refer to instead.

import type { ChunkEntry, ContainerRef } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress, VolumeId } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { type LostPlaces, refKey } from "../state/lost-places.ts";

/** A chunk that is stored in a container of the group. */
export interface Copy {
  readonly container: ContainerRef;
  readonly id: Uint8Array;
  readonly place: Pick<ChunkEntry, "storedAddress" | "storedLength" | "checksum">;
}

export interface Copies {
  /** Lost chunks that have one. */
  readonly count: number;
  /** A session of the volume refers to a lost chunk. */
  isFor(volume: VolumeId): boolean;
  /** The copies of what a container has lost, by address there; undefined where there are none. */
  in(container: ContainerRef): ReadonlyMap<ChunkAddress, Copy> | undefined;
}

/** The copies of the lost chunks, which `users` refer to; `byId` has them by hexadecimal id. */
export function copiesOf(
  lost: LostPlaces,
  byId: ReadonlyMap<string, Copy>,
  users: ReadonlySet<string>,
): Copies {
  const byContainer = new Map<string, Map<ChunkAddress, Copy>>();
  let count = 0;
  for (const chunk of lost.chunks) {
    const copy = byId.get(toHex(chunk.id));
    if (copy === undefined) continue;
    const key = refKey(chunk);
    const found = byContainer.get(key) ?? new Map<ChunkAddress, Copy>();
    byContainer.set(key, found.set(chunk.address, copy));
    count++;
  }
  const isFor = (volume: VolumeId): boolean => users.has(toHex(volume));
  return { count, isFor, in: (container) => byContainer.get(refKey(container)) };
}

export const noCopies: Copies = { count: 0, isFor: () => false, in: () => undefined };
