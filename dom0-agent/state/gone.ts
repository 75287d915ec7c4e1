// Since when volumes that have a snapshot of ours are not on this machine any more.

import { join } from "node:path";
import type { StateLayout } from "./layout.ts";
import { field, readRecord, writeRecord } from "./record.ts";

function pathOf(state: StateLayout): string {
  return join(state.directory, "gone");
}

/** Milliseconds since 1970 by volume. Throws DamagedStateError. */
export function readGone(state: StateLayout): ReadonlyMap<string, number> {
  const found = readRecord(pathOf(state), (value) => {
    const list = value["gone"];
    if (!Array.isArray(list)) throw new Error("gone: wanted a list");
    return list.map(
      (each: Record<string, unknown>) => [field.text(each, "volume"), field.number(each, "since")] as const,
    );
  });
  return new Map(found);
}

export function writeGone(state: StateLayout, gone: ReadonlyMap<string, number>): void {
  writeRecord(pathOf(state), { gone: [...gone].map(([volume, since]) => ({ volume, since })) });
}
