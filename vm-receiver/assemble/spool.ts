// Records of a merged map, kept in a file without a name while they are needed: how the manifests of more sessions
// than may be open at once are merged in batches. The records have the form of a manifest's.

import { closeSync, constants, openSync, unlinkSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import {
  encodeRecord,
  type ManifestEntry,
  type RecordBounds,
  recordBytes,
} from "../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { AssembleError, systemCode } from "./errors.ts";
import { readFully } from "./files.ts";
import { type OpenSource, recordSource } from "./manifest-source.ts";
import { printable } from "./printable.ts";

const bufferRecords = 700;

/** One step of a merge: what covers `run` chunks from `address` on, or that nothing does. */
export interface MapStep {
  readonly entry: ManifestEntry | undefined;
  readonly address: ChunkAddress;
  readonly run: number;
}

/**
 * Writes what `steps` say into a nameless file in `directory` and gives it back as a source. `of` is the volume as
 * the records see it; what nothing covers stays uncovered. Throws AssembleError `no-space`, `io`.
 */
export function spool(steps: Iterable<MapStep>, directory: string, of: RecordBounds): OpenSource {
  const path = join(directory, `.spbk-assemble-${randomBytes(8).toString("hex")}`);
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    unlinkSync(path);
    const buffer = new Uint8Array(bufferRecords * recordBytes);
    let used = 0;
    let count = 0;
    for (const { entry, address, run } of steps) {
      if (entry === undefined) continue;
      encodeRecord(buffer, used, { ...entry, address, run });
      used += recordBytes;
      if (used === buffer.length) {
        writeFully(fd, buffer, count * recordBytes);
        count += bufferRecords;
        used = 0;
      }
    }
    writeFully(fd, buffer.subarray(0, used), count * recordBytes);
    const open = fd;
    const records = {
      ...of,
      records: count + used / recordBytes,
      readRecords: (into: Uint8Array, first: number) => readFully(open, into, first * recordBytes),
    };
    return recordSource(records, () => closeSync(open));
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    throw asSpoolError(error, directory);
  }
}

function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

function asSpoolError(error: unknown, directory: string): unknown {
  const code = systemCode(error);
  if (code === undefined) return error;
  const full = code === "ENOSPC" || code === "EDQUOT";
  return new AssembleError(
    full ? "no-space" : "io",
    `${full ? "no space for" : `can't write (${code})`} a temporary file, ${printable(directory)}`,
    "it takes 92 bytes for each chunk that changed, beside the output or, without one, in TMPDIR: choose one with room",
    { cause: error },
  );
}
