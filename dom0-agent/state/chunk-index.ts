// The chunk index of a group of volumes: which chunks the archive has, by id, and where. A rebuildable cache (design
// section 5): the stamp says which state of the archive it was made from, and is taken away while it is changed, so
// what a crash leaves half done is made again from the archive's manifests. docs/state.md has its bytes.

import { createHash } from "node:crypto";
import { fstatSync, fsyncSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { maxContainers } from "../../protocol/archive/manifest.ts";
import {
  type Digest,
  digest,
  digestBytes,
  type SessionUid,
  sessionUid,
  type VolumeId,
  volumeId,
} from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { bool, type Codec, decode, encode, list, only, struct, u32, u64 } from "../../protocol/wire/codec.ts";
import { readIfThere, removeFile, replaceFile, syncDirectory, temporaryOf } from "./atomic-file.ts";
import {
  type ChunkPlace,
  type ChunkTable,
  createTable,
  entriesOf,
  openTable,
  pageBytes,
  pagesFor,
  type TableFile,
} from "./chunk-table.ts";
import type { GroupPaths } from "./layout.ts";
import { makeDirectory } from "./writing.ts";

/** A volume whose index was looked at, and that index's digest. */
export interface IndexedVolume {
  readonly volume: VolumeId;
  readonly indexDigest: Digest;
}

/** A container that entries lie in. They are true as long as its volume's index names it with this list. */
export interface IndexedContainer {
  readonly volume: VolumeId;
  readonly session: SessionUid;
  /** Zeros for one that is gone, and of which there are no entries. */
  readonly listDigest: Digest;
  /** All chunks that its own session's manifest names are in the index. */
  readonly complete: boolean;
}

/** What an index is changed with. Container numbers count from 1. */
export interface IndexEditor {
  /** The number of a container, a new one for a new container; undefined when there are too many. */
  numberOf(container: Omit<IndexedContainer, "complete">): number | undefined;
  /** All chunks of that session's manifest are in now. */
  complete(number: number): void;
  add(id: Uint8Array, place: ChunkPlace): void;
  /** Gives every container its list's digest of now; undefined for one that is gone, with all its entries. */
  renew(listDigest: (container: IndexedContainer) => Digest | undefined): void;
  /** Removes the entries of dead chunks, and those of containers that are gone. `deadIn` says of each container which
   *  stored addresses are dead in it; undefined: none. */
  drop(deadIn: (container: IndexedContainer) => ((storedAddress: number) => boolean) | undefined): void;
  /** Room for so many more entries. */
  reserve(entries: number): void;
}

export interface ChunkIndex extends Disposable {
  readonly file: TableFile;
  readonly entries: number;
  readonly volumes: readonly IndexedVolume[];
  /** Container `k` is `containers[k - 1]`. */
  readonly containers: readonly IndexedContainer[];
  /** Makes changes, and stamps the index with `volumes`. A change that throws leaves an index that is made again. */
  update(
    volumes: () => readonly IndexedVolume[],
    change: (edit: IndexEditor) => void | Promise<void>,
  ): Promise<void>;
}

const noList = new Uint8Array(digestBytes) as Digest;

/** A number that is kept only because it has been given. */
export function isGone(container: IndexedContainer): boolean {
  return equalBytes(container.listDigest, noList);
}

/** Containers of an index: what a manifest can name, but for those that a send salvages. */
const mostContainers = maxContainers - 4096;

interface Stamp {
  readonly version: number;
  readonly pages: number;
  readonly entries: number;
  readonly volumes: readonly IndexedVolume[];
  readonly containers: readonly IndexedContainer[];
}

const stampCodec: Codec<Stamp> = struct<Stamp>({
  version: only(u32, (n) => n === 1, "version 1"),
  pages: u64,
  entries: u64,
  volumes: list(struct<IndexedVolume>({ volume: volumeId, indexDigest: digest }), 65_536),
  containers: list(
    struct<IndexedContainer>({ volume: volumeId, session: sessionUid, listDigest: digest, complete: bool }),
    maxContainers,
  ),
});

/** The index in `paths`; an empty one, of no state, where there is none that can be used. `notice` hears why. */
export function openChunkIndex(paths: GroupPaths, notice: (message: string) => void): ChunkIndex {
  makeDirectory(paths.directory);
  const stamp = readStamp(paths, notice);
  if (stamp !== undefined) {
    try {
      const table = openTable(paths.table, stamp.pages, stamp.entries);
      if (fstatSync(table.file.fd).size === stamp.pages * pageBytes) return indexOf(paths, table, stamp);
      table[Symbol.dispose]();
      notice(`${paths.table}: its length is not what the stamp says; it is made again from the archive`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      notice(`${paths.table}: it is not there, though its stamp is; it is made again from the archive`);
    }
  }
  dropChunkIndex(paths);
  return indexOf(paths, createTable(paths.table, 0), {
    version: 1,
    pages: 1,
    entries: 0,
    volumes: [],
    containers: [],
  });
}

/** Forgets an index: the next send makes it again from the archive's manifests. For whoever can't say what has become
 *  of the chunks in it. */
export function dropChunkIndex(paths: GroupPaths): void {
  makeDirectory(dirname(paths.stamp));
  removeFile(paths.stamp);
  rmSync(paths.table, { force: true });
}

function readStamp(paths: GroupPaths, notice: (message: string) => void): Stamp | undefined {
  const raw = readIfThere(paths.stamp);
  if (raw === undefined) return undefined;
  const body = raw.subarray(0, Math.max(0, raw.length - 32));
  try {
    if (!equalBytes(createHash("sha256").update(body).digest(), raw.subarray(body.length)))
      throw new FormatError("bad-digest", "its digest does not fit its content");
    return decode(stampCodec, body, "chunk index");
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    notice(`${paths.stamp}: ${error.message}; the index is made again from the archive`);
    return undefined;
  }
}

function indexOf(paths: GroupPaths, opened: ChunkTable, found: Stamp): ChunkIndex {
  let table = opened;
  let { volumes } = found;
  const containers = [...found.containers];
  const keyOf = (each: { readonly volume: Uint8Array; readonly session: Uint8Array }): string =>
    toHex(each.volume) + toHex(each.session);
  const numbers = new Map(containers.map((each, i) => [keyOf(each), i + 1]));
  /** Places in `containers` of those that have gone and whose entries are still there. */
  const goneNow = new Set<number>();

  const editor: IndexEditor = {
    numberOf: ({ volume, session, listDigest }) => {
      const known = numbers.get(keyOf({ volume, session }));
      if (known !== undefined) return known;
      if (containers.length >= mostContainers) return undefined;
      containers.push({ volume, session, listDigest, complete: false });
      numbers.set(keyOf({ volume, session }), containers.length);
      return containers.length;
    },
    complete: (number) => {
      const container = containers[number - 1];
      if (container !== undefined) containers[number - 1] = { ...container, complete: true };
    },
    add: (id, place) => {
      if (pagesFor(table.entries + 1) > table.file.pages) table = grown(paths, table, table.entries * 2);
      table.add(id, place);
    },
    renew: (listDigest) => {
      for (const [i, each] of containers.entries()) {
        if (isGone(each)) continue;
        const now = { ...each, listDigest: listDigest(each) ?? noList };
        if (isGone(now)) goneNow.add(i);
        containers[i] = now;
      }
    },
    drop: (deadIn) => {
      const dead = containers.map((each, i) => {
        if (goneNow.has(i)) return () => true;
        return isGone(each) ? undefined : deadIn(each);
      });
      goneNow.clear();
      if (dead.every((each) => each === undefined)) return;
      table.drop((container, storedAddress) => dead[container - 1]?.(storedAddress) === true);
    },
    reserve: (entries) => {
      // Half as much again at least: a table that is copied for each session costs more than the sessions.
      const enough = Math.max(table.entries + entries, Math.ceil(table.entries * 1.5));
      if (pagesFor(table.entries + entries) > table.file.pages) table = grown(paths, table, enough);
    },
  };

  return {
    get file() {
      return table.file;
    },
    get entries() {
      return table.entries;
    },
    get volumes() {
      return volumes;
    },
    containers,
    update: async (volumesNow, change) => {
      removeFile(paths.stamp);
      await change(editor);
      table.flush();
      fsyncSync(table.file.fd);
      volumes = volumesNow();
      const { entries, file } = table;
      const body = encode(stampCodec, { version: 1, pages: file.pages, entries, volumes, containers });
      replaceFile(paths.stamp, [body, createHash("sha256").update(body).digest()]);
    },
    [Symbol.dispose]: () => table[Symbol.dispose](),
  };
}

/** The same entries in a table with room for `entries`: one pass over the old one, which goes. */
function grown(paths: GroupPaths, old: ChunkTable, entries: number): ChunkTable {
  old.flush();
  const path = temporaryOf(paths.table);
  const larger = createTable(path, entries);
  try {
    for (const { id, place } of entriesOf(old.file)) larger.add(id, place);
    larger.flush();
    renameSync(path, paths.table);
    syncDirectory(paths.directory);
  } catch (error) {
    larger[Symbol.dispose]();
    throw error;
  }
  old[Symbol.dispose]();
  return larger;
}
