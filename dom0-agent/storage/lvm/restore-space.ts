// Whether a restore has room in the pool, before anything is made: a thin pool that fills up takes every VM down with it.

import { StorageError, type StorageOptions } from "../storage.ts";
import type { Look } from "./volume-group.ts";

/** Metadata of one mapping: an entry of 16 bytes in a tree whose leaves may be half empty, and the inner nodes. */
const mappingBytes = 40;

/** Throws StorageError `full` unless `bytes` more can be mapped below the limits. */
export function refuseTooSmallPool(
  { vg, pool }: Pick<Look, "vg" | "pool">,
  bytes: number,
  limits: Pick<StorageOptions, "maxDataPercent" | "maxMetadataPercent">,
): void {
  const { size, chunkSize, metadataSize, dataPercent = 100, metadataPercent = 100 } = pool;
  const data = dataPercent + (100 * bytes) / size;
  const metadata = metadataPercent + (100 * mappingBytes * Math.ceil(bytes / chunkSize)) / metadataSize;
  if (data <= limits.maxDataPercent && metadata <= limits.maxMetadataPercent) return;
  const mib = Math.ceil(bytes / 2 ** 20);
  throw new StorageError(
    "full",
    `restore into ${vg}/${pool.name}: ${mib} MiB would be mapped; data would be at ${data.toFixed(1)} % ` +
      `(limit ${limits.maxDataPercent} %), metadata at ${metadata.toFixed(1)} % (limit ${limits.maxMetadataPercent} %)`,
    "extend the pool, or restore elsewhere with --save-to; nothing was made",
  );
}
