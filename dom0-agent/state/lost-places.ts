// The lost chunks of one group, by where they should be and by what they are.

import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress, GroupId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { LostChunk } from "./lost-chunks.ts";

export interface LostPlaces {
  readonly chunks: readonly LostChunk[];
  /** The lost chunks of a container, by address; undefined where it has none. */
  in(container: ContainerRef): ReadonlyMap<ChunkAddress, LostChunk> | undefined;
  has(container: ContainerRef, address: ChunkAddress): boolean;
}

export const nothingLost: LostPlaces = lostPlaces([]);

/** Those of `chunks`, or those of them that are of `group`. */
export function lostPlaces(chunks: readonly LostChunk[], group?: GroupId): LostPlaces {
  const own = group === undefined ? chunks : chunks.filter((each) => equalBytes(each.group, group));
  const byContainer = new Map<string, Map<ChunkAddress, LostChunk>>();
  for (const each of own) {
    const found = byContainer.get(refKey(each)) ?? new Map<ChunkAddress, LostChunk>();
    byContainer.set(refKey(each), found.set(each.address, each));
  }
  return {
    chunks: own,
    in: (container) => byContainer.get(refKey(container)),
    has: (container, address) => byContainer.get(refKey(container))?.has(address) === true,
  };
}

/** A container as the key of a map. */
export function refKey({ volume, session }: ContainerRef): string {
  return toHex(volume) + toHex(session);
}
