// A manifest of the archive, fetched into a file of dom0's and checked against the digest that the index names, before
// any of it is used. It may be hundreds of megabytes.

import { closeSync } from "node:fs";
import { createHash } from "node:crypto";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import {
  type ContainerRef,
  longestManifest,
  type ManifestEntry,
  openManifest,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import { type Digest, digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { openNameless } from "../state/nameless-file.ts";
import { integrity, metaOf, type OpenArchive, verified } from "./archive.ts";
import { isDamage } from "./read-or-copy.ts";
import { readFully } from "../read-fully.ts";
import { writeAll } from "../state/writing.ts";

/** Records that are decoded at once: so few that they are garbage before they get old, which is what keeps the heap small. */
const blockRecords = 256;
/** Working space; nothing in it outlives a call. */
const scratch = new Uint8Array(1024 * 1024);

export interface FetchedManifest extends Disposable {
  /** What it is, for messages. */
  readonly what: string;
  /** The session's volume then, in bytes. */
  readonly size: number;
  readonly chunkSize: number;
  /** Container `k` of an entry is `containers[k - 1]`; 0 is the session's own. */
  readonly containers: readonly ContainerRef[];
  /** All entries, from the first; each is good until the next is asked for. Throws AgentError `integrity`. */
  entries(): Generator<ManifestEntry, void, undefined>;
}

/** Fetches the manifest of a session into a file without a name beside `path`. Throws AgentError `integrity` where it is
 *  missing, can't be read where it lies, or is not the one that the index names. */
export async function fetchManifest(
  open: OpenArchive,
  index: VolumeIndex,
  container: Container,
  path: string,
): Promise<FetchedManifest> {
  const { manifestGeneration: generation, manifestDigest, uid } = container;
  const what = `manifest.${generation} of ${container.name}`;
  const fd = openNameless(path);
  const close = (): void => closeSync(fd);
  try {
    const name = metaOf("manifest", generation, index.volume, uid);
    // dom0's disk takes what the session's manifest can be, and no more.
    const size = index.sessions.find((each) => equalBytes(each.uid, uid))?.size ?? 0;
    const longest = longestManifest(size, open.record.chunkSize);
    const length = await readable(
      what,
      open.client.read(name, longest, (bytes) => writeAll(fd, bytes)),
    );
    if (length === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
    if (!equalBytes(digestOfSpool(fd, length), manifestDigest)) {
      throw new AgentError("integrity", `${what}: it is not the one that the index names`);
    }
    const file = {
      length,
      read: (into: Uint8Array, offset: number) => readFully(fd, into, offset, "a manifest"),
    };
    const expected = { archive: index.archive, volume: index.volume, generation };
    const manifest = verified(what, () => openManifest(file, expected, open.seal.opener));
    return {
      what,
      size: manifest.size,
      chunkSize: manifest.chunkSize,
      containers: manifest.containers,
      entries: function* () {
        const reader = recordReader(manifest);
        const block = new Uint8Array(Math.min(blockRecords, manifest.records) * recordBytes);
        for (let at = 0; at < manifest.records; at += blockRecords) {
          const part = block.subarray(0, Math.min(blockRecords, manifest.records - at) * recordBytes);
          yield* verified(what, () => {
            manifest.readRecords(part, at);
            return reader.read(part);
          });
        }
      },
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** What the promise gives. A refusal that means damage, such as a sector that can't be read, becomes AgentError
 *  `integrity`. */
async function readable<T>(what: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    throw isDamage(error) ? integrity(`${what}: ${error.message}`) : error;
  }
}

/** SHA-256 of a file but its last 32 bytes, if those are the same; zeros, which nothing has, if not. */
function digestOfSpool(fd: number, length: number): Digest {
  const hash = createHash("sha256");
  const end = Math.max(0, length - digestBytes);
  for (let at = 0; at < end; at += scratch.length) {
    const part = scratch.subarray(0, Math.min(scratch.length, end - at));
    readFully(fd, part, at, "a manifest");
    hash.update(part);
  }
  const digest = new Uint8Array(hash.digest());
  const stated = new Uint8Array(length - end);
  readFully(fd, stated, end, "a manifest");
  return (equalBytes(digest, stated) ? digest : new Uint8Array(digestBytes)) as Digest;
}
