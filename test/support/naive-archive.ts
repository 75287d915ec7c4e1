// What an archive holds, found out in the plainest way: tars unpacked by tar(1), everything in memory, every session from
// its manifests, oldest first. Tests compare with it what the real readers and writers make.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { decodeHead } from "../../protocol/archive/head.ts";
import { decodeIndex, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { decodeList } from "../../protocol/archive/list-file.ts";
import { chunkCount, openManifest, recordBytes, recordReader } from "../../protocol/archive/manifest.ts";
import { mapRootBuilder } from "../../protocol/archive/map-root.ts";
import { chunkPath, indexFile, listFile, manifestFile } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { equalBytes, plainBytes, toHex } from "../../protocol/bytes.ts";
import { chunkOpener } from "../../protocol/seal/chunk-seal.ts";
import { fileOpener } from "../../protocol/seal/file-seal.ts";
import { groupKey } from "../../protocol/seal/keys.ts";
import { tempDir } from "./temp-dir.ts";

export interface NaiveSession {
  readonly volume: string;
  readonly uid: string;
  readonly name: string;
  /** SHA-256 of the image, in hexadecimal. */
  readonly image: string;
  /** The chunk files that it consists of, as paths below the archive, of those in a tar as if it were unpacked. */
  readonly files: ReadonlySet<string>;
}

export interface NaiveArchive {
  readonly sessions: readonly NaiveSession[];
  /** Chunk files that lists name, and chunk files that are there; in tars, whose room was not given back. */
  readonly listed: ReadonlySet<string>;
  readonly stored: ReadonlySet<string>;
  readonly indexes: readonly VolumeIndex[];
}

/** Wherever it begins in a tar, a chunk of so many bytes fills a block of 4096, so that a prune gives its room back. */
const surelyPunched = 4096 + 4096 - 512;

/** Reads all of the archive at `path`, with its master key where it is sealed. Throws where anything is not what the one
 *  that names it says. */
export function readNaively(path: string, master?: Uint8Array): NaiveArchive {
  using unpacked = tempDir();
  const files = unpack(path, unpacked.path);
  const heads = readdirSync(join(path, "heads")).filter((each) => /^\d+$/.test(each));
  const newest = Math.max(...heads.map(Number));
  const head = decodeHead(files.read(join("heads", String(newest))));
  const opener = master && fileOpener(master);
  const volumes = head.volumes.map((entry) => {
    const bytes = files.read(join(entry.directory, indexFile(entry.indexGeneration)));
    must(equalBytes(fileDigest(bytes), entry.indexDigest), "index digest");
    return { directory: entry.directory, index: decodeIndex(bytes, {}, opener) };
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
      const bytes = files.read(join(directory, each.name, listFile(each.listGeneration)));
      must(equalBytes(fileDigest(bytes), each.listDigest), "list digest");
      const entries = decodeList(bytes, { session: each.uid, volume: index.volume });
      must(entries.length === each.chunks, "chunks of a list");
      must(
        entries.reduce((sum, { storedLength }) => sum + storedLength, 0) === each.storedBytes,
        "bytes of a list",
      );
      for (const entry of entries) listed.add(chunkFile(join(directory, each.name), entry.address));
    }
    sessions.push(...sessionsOf(files, directory, index, places, master));
  }
  const stored = new Set(files.chunks.filter((each) => listed.has(each) || !files.isGivenBack(each)));
  return { sessions, listed, stored, indexes: volumes.map((each) => each.index) };
}

function sessionsOf(
  files: Files,
  directory: string,
  index: VolumeIndex,
  places: ReadonlyMap<string, string>,
  master: Uint8Array | undefined,
): NaiveSession[] {
  const { archive, volume } = index;
  const seal = master && chunkOpener(groupKey(master, archive, index.group), archive);
  const opener = master && fileOpener(master);
  let map: ({ readonly id: Uint8Array; readonly file: string; readonly checksum: Uint8Array } | undefined)[] =
    [];
  return index.sessions.map((session) => {
    const container = index.containers.find((each) => equalBytes(each.uid, session.uid));
    must(container !== undefined, "container of a session");
    const bytes = files.read(join(directory, container.name, manifestFile(container.manifestGeneration)));
    must(equalBytes(fileDigest(bytes), container.manifestDigest), "manifest digest");
    const source = {
      length: bytes.length,
      read: (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length)),
    };
    const manifest = openManifest(source, { volume }, opener);
    const { chunkSize, size } = manifest;
    const count = chunkCount(size, chunkSize);
    map = Array.from({ length: count }, (_, i) => map[i]);
    const records = new Uint8Array(manifest.records * recordBytes);
    manifest.readRecords(records, 0);
    for (const entry of recordReader(manifest).read(records)) {
      for (let i = 0; i < entry.run; i++) {
        const at = entry.address / chunkSize + i;
        if (entry.kind === "hole") map[at] = undefined;
        else {
          const own = { volume, session: session.uid };
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
        const stored = files.read(chunk.file);
        must(equalBytes(createHash("sha256").update(stored).digest(), chunk.checksum), "checksum of a chunk");
        const plain = zstdDecompressSync(seal === undefined ? stored : seal.open(stored, chunk.id));
        must(plain.length === length, "length of a chunk");
        hash.update(plain);
      }
    }
    must(equalBytes(root.root(), session.mapRoot), `map root of ${container.name}`);
    return {
      volume: index.name,
      uid: toHex(session.uid),
      name: container.name,
      image: hash.digest("hex"),
      files: new Set(map.flatMap((each) => each?.file ?? [])),
    };
  });
}

function chunkFile(container: string, address: number): string {
  const { group, file } = chunkPath(address as ChunkAddress);
  return join(container, group, file);
}

/** The files of an archive, by paths as they would be were every session a directory. */
interface Files {
  readonly chunks: readonly string[];
  read(path: string): Uint8Array;
  /** True for a chunk in a tar that a prune has made zeros, or may have left since it fills no block. */
  isGivenBack(path: string): boolean;
}

/** Unpacks the tars of an archive to `into`. Of a list or a manifest beside a tar no other of its name is in it. */
function unpack(archive: string, into: string): Files {
  const places = new Map<string, string>();
  const find = (below: string, note: (path: string, place: string) => void): void => {
    for (const path of readdirSync(below, { recursive: true, encoding: "utf8" }))
      if (statSync(join(below, path)).isFile()) note(path, join(below, path));
  };
  find(archive, (path, place) => {
    if (!path.endsWith(".tar")) places.set(path.replace(/\.tar\.(?=list|manifest)/, "/"), place);
    else {
      const target = join(into, dirname(path));
      mkdirSync(target, { recursive: true });
      const done = spawnSync("tar", ["-xf", place, "-C", target], { encoding: "utf8" });
      must(done.status === 0, `tar: ${done.stderr}`);
    }
  });
  find(into, (path, place) => places.set(path, place));
  const read: Files["read"] = (path) => {
    const place = places.get(path);
    must(place !== undefined, `${path} is there`);
    return plainBytes(readFileSync(place));
  };
  return {
    chunks: [...places.keys()].filter((each) => /\/x[0-9a-f]{16}$/.test(each)),
    read,
    isGivenBack: (path) => {
      const inTar = places.get(path)?.startsWith(into) === true;
      if (!inTar) return false;
      const bytes = read(path);
      return bytes.length < surelyPunched || bytes.every((byte) => byte === 0);
    },
  };
}

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`naive reader: ${what}`);
}
