// What the manifests of a group say of its lost chunks: which of them are still needed, where in which volumes, and where
// else the same chunks are stored.

import { type ChunkEntry, chunkLength } from "../../protocol/archive/manifest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { hasId, idSet } from "../pipeline/id-set.ts";
import { allSessions } from "../restore/find-session.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import { fetchManifest } from "../archive/fetch-manifest.ts";
import type { LostChunk } from "../state/lost-chunks.ts";
import type { Copy } from "../prune/copies.ts";
import type { LostPlaces } from "../state/lost-places.ts";

/** A copy, and what it must be. */
export interface Candidate extends Copy {
  /** Bytes of its content. */
  readonly length: number;
}

export interface Uses {
  /** Lost chunks that a session refers to. */
  readonly needed: readonly LostChunk[];
  /** Volumes with such a session, by hexadecimal id. */
  readonly users: ReadonlySet<string>;
  /** By hexadecimal id: other places that have the chunk, as far as is known. */
  readonly candidates: ReadonlyMap<string, readonly Candidate[]>;
  /** By hexadecimal volume id, by hexadecimal chunk id: addresses in the volume at which sessions have the chunk. */
  readonly addresses: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;
  /** A manifest that can't be read: what is behind it may need any of them. */
  readonly unread: AgentError | undefined;
}

/** Other copies, and addresses in one volume, that are kept of a chunk: the newest of them. */
const mostKept = 4;

/** Reads the manifests of the group's volumes. What is behind one that can't be read is left out. */
export async function findUses(
  open: OpenArchive,
  volumes: readonly ViewedVolume[],
  lost: LostPlaces,
  signal: AbortSignal,
): Promise<Uses> {
  const ids = idSet(lost.chunks.map((each) => each.id));
  const needed = new Set<LostChunk>();
  const users = new Set<string>();
  const candidates = new Map<string, Candidate[]>();
  const addresses = new Map<string, Map<string, number[]>>();
  let unread: AgentError | undefined;
  for (const { index } of volumes) {
    const own = new Map<string, number[]>();
    addresses.set(toHex(index.volume), own);
    try {
      for (const { container } of allSessions(index)) {
        signal.throwIfAborted();
        using manifest = await fetchManifest(open, index, container, `${open.paths.directory}/.heal`);
        const refs = [{ volume: index.volume, session: container.uid }, ...manifest.containers];
        const lostIn = refs.map((ref) => lost.in(ref));
        for (const entry of manifest.entries()) {
          const ref = entry.kind === "chunk" ? refs[entry.container] : undefined;
          if (entry.kind === "hole" || ref === undefined || !hasId(ids, entry.id, 0)) continue;
          const id = toHex(entry.id);
          keep(own, id, entry.address);
          const chunk = lostIn[entry.container]?.get(entry.storedAddress);
          if (chunk === undefined) keep(candidates, id, candidateOf(entry, ref, manifest), isSamePlace);
          else {
            needed.add(chunk);
            users.add(toHex(index.volume));
          }
        }
      }
    } catch (error) {
      if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
      unread ??= error;
    }
  }
  return { needed: [...needed], users, candidates, addresses, unread };
}

function candidateOf(
  { id, address, storedAddress, storedLength, checksum }: ChunkEntry,
  container: Copy["container"],
  { size, chunkSize }: { readonly size: number; readonly chunkSize: number },
): Candidate {
  const place = { storedAddress, storedLength, checksum: checksum.slice() as typeof checksum };
  return { container, place, id: id.slice(), length: chunkLength(address, size, chunkSize) };
}

/** Adds a value in front, if it is not there yet. */
function keep<T>(
  to: Map<string, T[]>,
  key: string,
  value: T,
  isSame = (a: T, b: T): boolean => a === b,
): void {
  const found = to.get(key) ?? [];
  if (!found.some((each) => isSame(each, value))) to.set(key, [value, ...found].slice(0, mostKept));
}

function isSamePlace(a: Candidate, b: Candidate): boolean {
  return (
    a.place.storedAddress === b.place.storedAddress &&
    Buffer.compare(a.container.session, b.container.session) === 0 &&
    Buffer.compare(a.container.volume, b.container.volume) === 0
  );
}
