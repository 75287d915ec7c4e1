// What an archive of the directory form holds, found out in the plainest way: everything in memory, every session from
// its manifests, oldest first. Tests compare with it what the real readers and writers make.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { decodeHead } from "../../protocol/archive/head.ts";
import { decodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { decodeList } from "../../protocol/archive/list-file.ts";
import {
  chunkCount,
  decodeManifestHead,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import { mapRootBuilder } from "../../protocol/archive/map-root.ts";
import { chunkPath, indexFile, listFile, manifestFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { equalBytes, plainBytes, toHex } from "../../protocol/bytes.ts";

export interface NaiveSession {
  readonly volume: string;
  readonly uid: string;
  readonly name: string;
  /** SHA-256 of the image, in hexadecimal. */
  readonly image: string;
  /** The chunk files that it consists of, as paths below the archive. */
  readonly files: ReadonlySet<string>;
}

export interface NaiveArchive {
  readonly sessions: readonly NaiveSession[];
  /** Chunk files that lists name, and chunk files that are there. */
  readonly listed: ReadonlySet<string>;
  readonly stored: ReadonlySet<string>;
  readonly indexes: readonly VolumeIndex[];
}

/** Reads all of the archive at `path`. Throws where anything is not what the one that names it says. */
export function readNaively(path: string): NaiveArchive {
  const newest = Math.max(...readdirSync(join(path, "heads")).map(Number));
  const head = decodeHead(plainBytes(readFileSync(join(path, "heads", String(newest)))));
  const volumes = head.volumes.map((entry) => {
    const bytes = plainBytes(readFileSync(join(path, entry.directory, indexFile(entry.indexGeneration))));
    must(equalBytes(fileDigest(bytes), entry.indexDigest), "index digest");
    return { directory: entry.directory, index: decodeIndex(bytes) };
  });
  const places = new Map(
    volumes.flatMap(({ directory, index }) =>
      index.containers.map(
        (each) => [toHex(index.volume) + toHex(each.uid), join(directory, each.name)] as const,
      ),
    ),
  );
  const sessions: NaiveSession[] = [];
  const listed = new Set<string>();
  for (const { directory, index } of volumes) {
    for (const each of index.containers) {
      const bytes = plainBytes(readFileSync(join(path, directory, each.name, listFile(each.listGeneration))));
      must(equalBytes(fileDigest(bytes), each.listDigest), "list digest");
      const entries = decodeList(bytes, { session: each.uid, volume: index.volume });
      must(entries.length === each.chunks, "chunks of a list");
      must(
        entries.reduce((sum, { storedLength }) => sum + storedLength, 0) === each.storedBytes,
        "bytes of a list",
      );
      for (const entry of entries) listed.add(chunkFile(join(directory, each.name), entry.address));
    }
    sessions.push(...sessionsOf(path, directory, index, places));
  }
  return { sessions, listed, stored: storedIn(path), indexes: volumes.map((each) => each.index) };
}

function sessionsOf(
  path: string,
  directory: string,
  index: VolumeIndex,
  places: ReadonlyMap<string, string>,
): NaiveSession[] {
  let map: ({ readonly id: Uint8Array; readonly file: string; readonly checksum: Uint8Array } | undefined)[] =
    [];
  return index.sessions.map((session) => {
    const container = index.containers.find((each) => equalBytes(each.uid, session.uid));
    must(container !== undefined, "container of a session");
    const bytes = plainBytes(
      readFileSync(join(path, directory, container.name, manifestFile(container.manifestGeneration))),
    );
    must(equalBytes(fileDigest(bytes), container.manifestDigest), "manifest digest");
    const manifest = decodeManifestHead(bytes, bytes.length, { volume: index.volume });
    const { chunkSize, size } = manifest;
    const count = chunkCount(size, chunkSize);
    map = Array.from({ length: count }, (_, i) => map[i]);
    const end = manifest.recordsAt + manifest.records * recordBytes;
    for (const entry of recordReader(manifest).read(bytes.subarray(manifest.recordsAt, end))) {
      for (let i = 0; i < entry.run; i++) {
        const at = entry.address / chunkSize + i;
        if (entry.kind === "hole") map[at] = undefined;
        else {
          const own = { volume: index.volume, session: session.uid };
          const ref = entry.container === 0 ? own : manifest.containers[entry.container - 1];
          const place = places.get(toHex(ref?.volume ?? own.volume) + toHex(ref?.session ?? own.session));
          must(place !== undefined, "container of a reference");
          map[at] = { id: entry.id, file: chunkFile(place, entry.storedAddress), checksum: entry.checksum };
        }
      }
    }
    const root = mapRootBuilder(size, chunkSize);
    const hash = createHash("sha256");
    for (const [i, chunk] of map.entries()) {
      root.add(chunk?.id, 1);
      const length = Math.min(chunkSize, size - i * chunkSize);
      if (chunk === undefined) hash.update(new Uint8Array(length));
      else {
        const stored = readFileSync(join(path, chunk.file));
        must(equalBytes(createHash("sha256").update(stored).digest(), chunk.checksum), "checksum of a chunk");
        const plain = zstdDecompressSync(stored);
        must(plain.length === length, "length of a chunk");
        hash.update(plain);
      }
    }
    must(equalBytes(root.root(), session.mapRoot), `map root of ${container.name}`);
    const files = new Set(map.flatMap((each) => each?.file ?? []));
    return {
      volume: index.name,
      uid: toHex(session.uid),
      name: container.name,
      image: hash.digest("hex"),
      files,
    };
  });
}

function chunkFile(container: string, address: number): string {
  const { group, file } = chunkPath(address as ChunkAddress);
  return join(container, group, file);
}

/** All chunk files below the archive. */
function storedIn(path: string): ReadonlySet<string> {
  const all = readdirSync(path, { recursive: true }).map(String);
  return new Set(all.filter((each) => /\/x[0-9a-f]{16}$/.test(each) && existsSync(join(path, each))));
}

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`naive reader: ${what}`);
}
