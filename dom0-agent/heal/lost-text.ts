// Lost chunks in words.

import { bytesText } from "../units.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import type { LostChunk } from "../state/lost-chunks.ts";

/** `3 chunks, 192 KiB`. */
export function amountText(chunks: readonly Pick<LostChunk, "length">[]): string {
  return `${chunks.length} ${chunks.length === 1 ? "chunk" : "chunks"}, ${bytesText(bytesIn(chunks))}`;
}

/** Bytes of their contents. */
export function bytesIn(chunks: readonly Pick<LostChunk, "length">[]): number {
  return chunks.reduce((sum, each) => sum + each.length, 0);
}

/** What became of the lost chunks of a group, and the same for --json. */
export function putBackText(
  volumes: readonly ViewedVolume[],
  healed: readonly LostChunk[],
  still: readonly LostChunk[],
): { readonly message: string; readonly fields: Readonly<Record<string, unknown>> } {
  const names = volumes.flatMap(({ index }) => (index.sessions.length > 0 ? [index.name] : []));
  const rest = still.length === 0 ? "" : `; still lost: ${amountText(still)}`;
  const fields = { healed: healed.length, stillLost: still.length, volumes: names };
  const message = `${names.join(", ")}: put back what was lost: ${amountText(healed)}${rest}`;
  return { message, fields };
}
