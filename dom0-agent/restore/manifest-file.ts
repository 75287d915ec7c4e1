// One session's manifest out of the archive: fetched into a file without a name, believed only once its digest is the
// one that the verified index names (archive-format.md, section 14).

import { createHash } from "node:crypto";
import type { Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import {
  type ContainerRef,
  type ManifestEntry,
  openManifest,
  type OpenManifest,
} from "../../protocol/archive/manifest.ts";
import type { EntrySource } from "../../protocol/archive/merge.ts";
import { digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { metaOf, type OpenArchive, verified } from "../session/archive.ts";
import { type NamelessFile, namelessFile } from "./nameless-file.ts";
import { recordSource } from "./record-source.ts";

/** Bytes of the largest manifest that dom0 takes: that of a 16 TiB volume in chunks of 128 KiB. */
const maxManifestBytes = 16 * 1024 * 1024 * 1024;
const hashBytes = 1024 * 1024;

/** A manifest that has been checked; its file goes when it is disposed of. */
export interface FetchedManifest extends Disposable {
  /** All of its entries, from the first; each is good until the next is asked for. */
  source(): EntrySource;
}

/**
 * Fetches a session's manifest. Its entries have container numbers from `numberOf` instead of its own. Throws
 * AgentError `integrity` where it is missing, damaged or another one.
 */
export async function fetchManifest(
  open: OpenArchive,
  index: VolumeIndex,
  container: Container,
  numberOf: (ref: ContainerRef) => number,
): Promise<FetchedManifest> {
  const what = `${index.name}: manifest.${container.manifestGeneration} of ${container.name}`;
  const file = namelessFile(open.paths.directory);
  try {
    const name = metaOf("manifest", container.manifestGeneration, index.volume, container.uid);
    const length = await open.client.read(name, maxManifestBytes, (bytes) => file.append(bytes));
    if (length === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
    const manifest = verified(what, () => checkedManifest(file, length, what, open, index, container));
    const own = numberOf({ volume: index.volume, session: container.uid });
    const numbers = Uint32Array.from([own, ...manifest.containers.map(numberOf)]);
    return {
      source: () => {
        const records = recordSource(manifest);
        const next = (): ManifestEntry | undefined => {
          const entry = verified(what, () => records.next());
          return entry?.kind === "chunk" ? { ...entry, container: numbers[entry.container] ?? 0 } : entry;
        };
        return { next };
      },
      [Symbol.dispose]: () => file[Symbol.dispose](),
    };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

function checkedManifest(
  file: NamelessFile,
  length: number,
  what: string,
  open: OpenArchive,
  index: VolumeIndex,
  container: Container,
): OpenManifest {
  const wrong = (why: string): AgentError => new AgentError("integrity", `${what}: ${why}`);
  const end = length - digestBytes;
  if (end < 0) throw wrong(`${length} bytes are no manifest`);
  const stated = new Uint8Array(digestBytes);
  file.read(stated, end);
  if (!equalBytes(stated, container.manifestDigest) || !equalBytes(stated, digestOf(file, end)))
    throw wrong("it is not the one that the index names");
  const expected = {
    archive: index.archive,
    volume: index.volume,
    generation: container.manifestGeneration,
  };
  const source = { length, read: (into: Uint8Array, offset: number) => file.read(into, offset) };
  const manifest = openManifest(source, expected, open.seal.opener);
  if (!equalBytes(manifest.session, container.uid)) throw wrong("it belongs to another session");
  if (manifest.chunkSize !== open.record.chunkSize)
    throw wrong(`chunks of ${manifest.chunkSize} bytes, wanted ${open.record.chunkSize} as in the archive`);
  return manifest;
}

function digestOf(file: NamelessFile, end: number): Uint8Array {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(hashBytes, end));
  for (let at = 0; at < end; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, end - at));
    file.read(part, at);
    hash.update(part);
  }
  return hash.digest();
}
