// The archives that dom0 has state of, whether the settings still name them or not.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type ArchiveRecord, readArchiveRecord } from "./archive-record.ts";
import type { StateLayout } from "./layout.ts";
import { DamagedStateError } from "./record.ts";

/** By name; one whose record is damaged is left out, and said. */
export function archivesIn(
  state: StateLayout,
  report: { warn(message: string): void },
): readonly { readonly name: string; readonly record: ArchiveRecord }[] {
  let names: string[];
  try {
    names = readdirSync(join(state.directory, "archives")).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap((name) => {
    try {
      const record = readArchiveRecord(state.archive(name));
      return record === undefined ? [] : [{ name, record }];
    } catch (error) {
      if (!(error instanceof DamagedStateError)) throw error;
      report.warn(error.message);
      return [];
    }
  });
}
