// The archive's header, as dom0 keeps it: without it the key slots, and with them every passphrase, would be gone with
// `archive` and its copies. One file for each change of the slots, so that also an older state that is gone back to finds
// its own. A head says by a digest which bytes are meant: what is kept is never taken for another's.

import { join } from "node:path";
import { fileDigest, sha256 } from "../../protocol/archive/prefix.ts";
import { type Digest, digestBytes, type Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { makeDirectory, readIfThere, replaceFile } from "./atomic-file.ts";
import type { ArchivePaths } from "./layout.ts";

/** Keeps the header, of at most 4096 bytes, that heads name by `generation`. Call under the archive's lock. */
export function keepHeader(paths: ArchivePaths, generation: Generation, bytes: Uint8Array): void {
  if (keptHeader(paths, generation, fileDigest(bytes)) !== undefined) return;
  makeDirectory(paths.headers);
  replaceFile(join(paths.headers, String(generation)), [bytes]);
}

/** The header of `digest`; undefined where it is not kept, or damaged. */
export function keptHeader(
  paths: ArchivePaths,
  generation: Generation,
  digest: Digest,
): Uint8Array | undefined {
  const bytes = readIfThere(join(paths.headers, String(generation)));
  if (bytes === undefined || bytes.length < digestBytes) return undefined;
  const isWhole = equalBytes(sha256(bytes.subarray(0, bytes.length - digestBytes)), digest);
  return isWhole && equalBytes(fileDigest(bytes), digest) ? bytes : undefined;
}
