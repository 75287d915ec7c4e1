// The archive's header, as dom0 keeps it: without it the key slots, and with them every passphrase, would be gone with
// `archive` and its copies. One file for each change of the slots, so that also an older state that is gone back to finds
// its own. A head says by a digest which bytes are meant: what is kept is never taken for another's.

import { join } from "node:path";
import { fileDigest, sha256 } from "../../protocol/archive/prefix.ts";
import { type Digest, digestBytes, type Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { readIfThere, replaceFile } from "./atomic-file.ts";
import type { ArchivePaths } from "./layout.ts";
import { makeDirectory } from "./writing.ts";

/** Keeps the header, of at most 4096 bytes, that heads name by `generation`; `warn` hears of a file there that is damaged.
 *  Call under the archive's lock. */
export function keepHeader(
  paths: ArchivePaths,
  generation: Generation,
  bytes: Uint8Array,
  warn: (message: string) => void = () => undefined,
): void {
  if (keptHeader(paths, generation, fileDigest(bytes)) !== undefined) return;
  makeDirectory(paths.headers);
  const path = join(paths.headers, String(generation));
  const before = readIfThere(path);
  if (before !== undefined && !isWhole(before))
    warn(`read state: ${path}: its digest does not fit its content; it is made again from the archive`);
  replaceFile(path, [bytes]);
}

/** The header of `digest`; undefined where it is not kept, or damaged. */
export function keptHeader(
  paths: ArchivePaths,
  generation: Generation,
  digest: Digest,
): Uint8Array | undefined {
  const bytes = readIfThere(join(paths.headers, String(generation)));
  return bytes !== undefined && isWhole(bytes) && equalBytes(fileDigest(bytes), digest) ? bytes : undefined;
}

function isWhole(bytes: Uint8Array): boolean {
  if (bytes.length < digestBytes) return false;
  return equalBytes(sha256(bytes.subarray(0, bytes.length - digestBytes)), fileDigest(bytes));
}
