// Manifest records in a file, read a small stretch at a time whatever their number.

import {
  encodeRecord,
  type ManifestEntry,
  type OpenManifest,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import type { EntrySource } from "../../protocol/archive/merge.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { namelessFile } from "./nameless-file.ts";

/** One step of a merged map: what covers `run` chunks from `address` on, or that nothing does. */
export interface MapStep {
  readonly entry: ManifestEntry | undefined;
  readonly address: ChunkAddress;
  readonly run: number;
}

const stretchRecords = 700;

/** Records that can be read anywhere, and what they are checked against: of an open manifest, or of a spool. */
export type Records = Pick<OpenManifest, "size" | "chunkSize" | "containers" | "records" | "readRecords">;

/** The entries of `from`. An entry's id and checksum are good until the next call. Throws FormatError for what no
 *  manifest may hold. */
export function recordSource(from: Records): EntrySource {
  const { records: count } = from;
  const reader = recordReader(from);
  const buffer = new Uint8Array(Math.min(stretchRecords, count) * recordBytes);
  let entries: readonly ManifestEntry[] = [];
  let next = 0;
  let done = 0;
  return {
    next: () => {
      if (next === entries.length) {
        if (done === count) return undefined;
        const stretch = buffer.subarray(0, Math.min(stretchRecords, count - done) * recordBytes);
        from.readRecords(stretch, done);
        entries = reader.read(stretch);
        next = 0;
        done += entries.length;
      }
      return entries[next++];
    },
  };
}

/** Records of a merged map in a file of their own. */
export interface RecordSpool extends Disposable, Pick<Records, "records" | "readRecords"> {}

/** Writes what `steps` say into a nameless file in `directory`; what nothing covers, and with `holes` false every hole,
 *  is left out. */
export function spoolSteps(
  steps: Iterable<MapStep>,
  directory: string,
  options: { readonly holes: boolean },
): RecordSpool {
  const file = namelessFile(directory);
  try {
    const buffer = new Uint8Array(stretchRecords * recordBytes);
    let used = 0;
    let records = 0;
    for (const { entry, address, run } of steps) {
      if (entry === undefined || (entry.kind === "hole" && !options.holes)) continue;
      encodeRecord(buffer, used, { ...entry, address, run });
      records++;
      used += recordBytes;
      if (used < buffer.length) continue;
      file.append(buffer);
      used = 0;
    }
    file.append(buffer.subarray(0, used));
    return {
      records,
      readRecords: (into, first) => file.read(into, first * recordBytes),
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}
