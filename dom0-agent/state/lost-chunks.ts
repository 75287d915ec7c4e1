// Chunks that a check has found to be lost: what sends put back where a volume still holds them, and what the chunk
// indexes must not offer meanwhile. Without the record nothing is lost: the next check writes it again.

import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import {
  type ChunkAddress,
  type ChunkId,
  digestBytes,
  type GroupId,
  type SessionUid,
  uidBytes,
  type VolumeId,
} from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { removeFile } from "./atomic-file.ts";
import type { ArchivePaths } from "./layout.ts";
import { DamagedStateError, field, readRecord, writeRecord } from "./record.ts";

/** A chunk that its container does not have any more, or not as it was. */
export interface LostChunk extends ContainerRef {
  readonly group: GroupId;
  /** Under which its container keeps it. */
  readonly address: ChunkAddress;
  readonly id: ChunkId;
  /** Bytes of its content. */
  readonly length: number;
}

/** Chunks that are written down at most: some megabytes of record. What is left out is found by the next check. */
export const mostLost = 65_536;

/** The chunks that are written down. A damaged record is removed; `warn` hears of it. */
export function readLost(
  paths: Pick<ArchivePaths, "lost">,
  warn: (message: string) => void,
): readonly LostChunk[] {
  try {
    return readRecord(paths.lost, ({ containers }) => listOf(containers).flatMap(chunksOf)) ?? [];
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    warn(`${error.message}; it is removed: check finds again what is lost`);
    removeFile(paths.lost);
    return [];
  }
}

/** Writes down these chunks and no others, `mostLost` of them at most. */
export function writeLost(paths: Pick<ArchivePaths, "lost">, chunks: readonly LostChunk[]): void {
  if (chunks.length === 0) return removeFile(paths.lost);
  const byContainer = Map.groupBy(
    chunks.slice(0, mostLost),
    ({ group, volume, session }) => toHex(group) + toHex(volume) + toHex(session),
  );
  const containers = [...byContainer.values()].flatMap((of) => {
    const [first] = of;
    if (first === undefined) return [];
    const { group, volume, session } = first;
    const places = of.map(({ address, length, id }) => ({ address, length, id: toHex(id) }));
    return [{ group: toHex(group), volume: toHex(volume), session: toHex(session), chunks: places }];
  });
  writeRecord(paths.lost, { containers });
}

function chunksOf(container: Record<string, unknown>): readonly LostChunk[] {
  const group = field.hex<GroupId>(container, "group", uidBytes);
  const volume = field.hex<VolumeId>(container, "volume", uidBytes);
  const session = field.hex<SessionUid>(container, "session", uidBytes);
  return listOf(container["chunks"]).map((chunk) => ({
    group,
    volume,
    session,
    address: field.number(chunk, "address") as ChunkAddress,
    length: field.number(chunk, "length"),
    id: field.hex<ChunkId>(chunk, "id", digestBytes),
  }));
}

function listOf(value: unknown): readonly Record<string, unknown>[] {
  if (!Array.isArray(value)) throw new Error("wanted a list");
  return value as readonly Record<string, unknown>[];
}
