// What restores have put aside, until the user confirms or its time is over. Only what is written down here, and still
// is what it was, is ever removed.

import { join } from "node:path";
import type { StateLayout } from "./layout.ts";
import { field, readRecord, writeRecord } from "./record.ts";

/** A volume that a restore has put aside. Identity is `uuid`: the LV's, or device and inode. */
export interface Kept {
  /** The volume's clean name, and the name under which it is kept. */
  readonly volume: string;
  readonly name: string;
  readonly uuid: string;
  /** Milliseconds since 1970. */
  readonly keptAt: number;
}

function pathOf(state: StateLayout): string {
  return join(state.directory, "kept");
}

export function readKept(state: StateLayout): readonly Kept[] {
  const found = readRecord(pathOf(state), (value) => {
    const list = value["kept"];
    if (!Array.isArray(list)) throw new Error("kept: wanted a list");
    return list.map((each: Record<string, unknown>) => ({
      volume: field.text(each, "volume"),
      name: field.text(each, "name"),
      uuid: field.text(each, "uuid"),
      keptAt: field.number(each, "keptAt"),
    }));
  });
  return found ?? [];
}

/** Call under the state's lock. */
export function writeKept(state: StateLayout, kept: readonly Kept[]): void {
  writeRecord(pathOf(state), { kept });
}
