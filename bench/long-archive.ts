// An archive of many sessions and very many chunks, made in seconds: every file of it is as a real one's but for the
// chunks, which are links to a few small files, since what they hold is of no account to a prune.

import { createHash } from "node:crypto";
import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archiveHeaderMacInput, encodeArchiveHeader } from "../protocol/archive/archive-header.ts";
import type { Head } from "../protocol/archive/head.ts";
import { type Container, encodeIndex, type SessionRecord } from "../protocol/archive/index-file.ts";
import { listBuilder } from "../protocol/archive/list-file.ts";
import { encodeManifestHead, encodeRecord, recordBytes } from "../protocol/archive/manifest.ts";
import { groupChunks, groupDigest, groupCount, mapIdBytes, mapRootOf } from "../protocol/archive/map-root.ts";
import { chunkPath, indexFile, manifestFile, sessionNameAt } from "../protocol/archive/names.ts";
import { fileDigest, sha256 } from "../protocol/archive/prefix.ts";
import { encodeSessionHeader } from "../protocol/archive/session-header.ts";
import type {
  ArchiveUuid,
  ChunkAddress,
  ChunkId,
  Generation,
  GroupId,
  SessionUid,
  VolumeId,
} from "../protocol/archive/types.ts";
import { concatBytes } from "../protocol/bytes.ts";
import { archiveKeys, macOf } from "../protocol/seal/keys.ts";
import { buildHead } from "../dom0-agent/archive/build-head.ts";
import { markOf } from "../dom0-agent/archive/archive.ts";
import { newMasterKey } from "../dom0-agent/keys/master-key.ts";
import { openChunkIndex } from "../dom0-agent/state/chunk-index.ts";
import { writeArchiveRecord } from "../dom0-agent/state/archive-record.ts";
import { ownerOf, stateLayout } from "../dom0-agent/state/layout.ts";

export interface LongArchive {
  readonly sessions: number;
  /** In all sessions together; half of them in the first. */
  readonly chunks: number;
  /** Makes the chunk files, and dom0's index of them. */
  readonly files: boolean;
}

const chunkSize = 65_536;
const clusters = 8;
const linksPerFile = 60_000;
const hour = 3_600_000;
const firstTakenAt = Date.UTC(2026, 0, 1);
const storedChunk = new Uint8Array(100).fill(1);

const named = <T extends Uint8Array>(text: string, bytes: number): T =>
  new Uint8Array(createHash("sha256").update(text).digest().subarray(0, bytes)) as Uint8Array as T;

/** Makes the archive in `path`, of one volume, and dom0's state of it in `state`, with its index of the chunks. Gives
 *  the number of chunk files. */
export async function makeLongArchive(
  path: string,
  state: string,
  volumeName: string,
  of: LongArchive,
): Promise<number> {
  const uuid = named<ArchiveUuid>("archive", 16);
  const volume = named<VolumeId>("volume", 16);
  const group = volume as Uint8Array as GroupId;
  const paths = stateLayout(state).archive("default");
  ownerOf(state);
  const keys = archiveKeys(newMasterKey(paths), uuid);
  const fields = {
    uuid,
    chunkSize,
    compression: "zstd",
    level: 3,
    sealed: false,
    createdAt: firstTakenAt,
    idSeed: named<Uint8Array>("seed", 32),
    slots: [],
  } as const;
  const header = encodeArchiveHeader({ ...fields, mac: macOf(keys.header, archiveHeaderMacInput(fields)) });
  const own = join(path, volumeName);
  mkdirSync(join(path, "heads"), { recursive: true });
  mkdirSync(own);
  for (const each of [path, own]) writeFileSync(join(each, "archive"), header);
  const body = { archiveGeneration: 0 as Generation, archiveDigest: fileDigest(header) };
  let head: Head = writeHead(undefined, { ...body, createdAt: firstTakenAt, volumes: [] });
  function writeHead(previous: Head | undefined, next: Parameters<typeof buildHead>[3]): Head {
    const made = buildHead(keys, uuid, previous, next);
    writeFileSync(join(path, "heads", String(made.head.generation)), made.bytes);
    if (made.head.generation === of.sessions + 1) {
      const record = { uuid, sealed: false, chunkSize, level: 3, idSeed: fields.idSeed };
      const known = [{ name: volumeName, id: volume, group, directory: volumeName }];
      writeArchiveRecord(paths, {
        ...record,
        head: markOf(made.head, made.digest),
        volumes: known,
        groups: [],
      });
    }
    return made.head;
  }

  const first = Math.floor(of.chunks / 2);
  const later = Math.floor((of.chunks - first) / (of.sessions - 1));
  const size = first * chunkSize;
  const ids = new Uint8Array(first * mapIdBytes);
  const digests = new Uint8Array(groupCount(size, chunkSize) * mapIdBytes);
  const containers: Container[] = [];
  const sessions: SessionRecord[] = [];
  const checksum = sha256(storedChunk);
  /** By chunk file: which session's it is, and which chunk of the volume. */
  const owners = new Uint32Array(of.chunks);
  const places = new Uint32Array(of.chunks);
  let files = 0;
  let seed = "";
  let madeGroup = "";
  function makeFile(directory: string, address: ChunkAddress): void {
    const place = chunkPath(address);
    const made = join(directory, place.group);
    if (made !== madeGroup) mkdirSync(made, { recursive: true });
    madeGroup = made;
    if (files % linksPerFile === 0) {
      seed = `${path}.seed-${files}`;
      writeFileSync(seed, storedChunk);
    }
    linkSync(seed, join(made, place.file));
  }
  for (let number = 0; number < of.sessions; number++) {
    const generation = (number + 2) as Generation;
    const takenAt = firstTakenAt + number * hour;
    const name = sessionNameAt(takenAt);
    const uid = named<SessionUid>(`session ${number}`, 16);
    const identity = { archive: uuid, volume, generation, session: uid };
    const chunks =
      number === 0 ? Array.from({ length: first }, (_, i) => i) : scattered(number, later, first);
    const directory = join(own, name);
    mkdirSync(directory);
    const list = listBuilder(identity);
    const listParts = [list.head];
    const records = new Uint8Array(chunks.length * recordBytes);
    const touched = new Set<number>();
    for (const [i, chunk] of chunks.entries()) {
      const address = (chunk * chunkSize) as ChunkAddress;
      const id = idOf(files);
      ids.set(id, chunk * mapIdBytes);
      touched.add(Math.floor(chunk / groupChunks));
      const stored = { storedAddress: address, storedLength: storedChunk.length, checksum };
      encodeRecord(records, i * recordBytes, { kind: "chunk", address, run: 1, id, container: 0, ...stored });
      listParts.push(list.add({ address, storedLength: storedChunk.length, checksum }));
      if (of.files) makeFile(directory, address);
      owners[files] = number;
      places[files] = chunk;
      files++;
    }
    for (const each of touched) {
      const part = ids.subarray(each * groupChunks * mapIdBytes, (each + 1) * groupChunks * mapIdBytes);
      digests.set(groupDigest(each, part), each * mapIdBytes);
    }
    const manifestHead = encodeManifestHead(
      identity,
      { session: uid, size, chunkSize, containers: [] },
      chunks.length,
    );
    const unsigned = concatBytes([manifestHead, records]);
    const manifest = concatBytes([unsigned, sha256(unsigned)]);
    const session = {
      uid,
      sequence: number + 1,
      takenAt,
      size,
      mapRoot: mapRootOf(size, chunkSize, digests),
      consistency: "clean",
    } as const;
    const sessionHeader = encodeSessionHeader({
      ...session,
      archive: uuid,
      volume,
      generation,
      name,
      volumeName,
      chunkSize,
    });
    const done = list.finish();
    writeFileSync(join(directory, "list"), concatBytes([...listParts, done.tail]));
    writeFileSync(join(directory, "header"), sessionHeader);
    writeFileSync(join(directory, manifestFile(generation)), manifest);
    sessions.push({ ...session, protected: false, tags: [] });
    containers.push({
      uid,
      name,
      form: "dir",
      headerDigest: fileDigest(sessionHeader),
      listGeneration: 0 as Generation,
      listDigest: done.digest,
      manifestGeneration: generation,
      manifestDigest: fileDigest(manifest),
      chunks: done.chunks,
      storedBytes: done.bytes,
    });
    const index = encodeIndex({
      archive: uuid,
      volume,
      generation,
      containers,
      name: volumeName,
      group,
      sessions,
    });
    writeFileSync(join(own, indexFile(generation)), index);
    const entry = {
      volume,
      directory: volumeName,
      indexGeneration: generation,
      indexDigest: fileDigest(index),
    };
    head = writeHead(head, { ...body, createdAt: takenAt, volumes: [entry] });
  }
  if (!of.files) return files;
  using index = openChunkIndex(paths.group(group), (message) => {
    throw new Error(message);
  });
  const indexed = head.volumes.map((each) => ({ volume, indexDigest: each.indexDigest }));
  await index.update(
    () => indexed,
    (edit) => {
      const numbers = containers.map(({ uid, listDigest }) =>
        edit.numberOf({ volume, session: uid, listDigest }),
      );
      for (const each of numbers) edit.complete(each ?? 0);
      edit.reserve(files);
      for (let i = 0; i < files; i++) {
        const container = numbers[owners[i] ?? 0] ?? 0;
        const storedAddress = ((places[i] ?? 0) * chunkSize) as ChunkAddress;
        edit.add(idOf(i), { container, storedAddress, storedLength: storedChunk.length, checksum });
      }
    },
  );
  return files;
}

/** The id of the i-th chunk file: any 32 bytes that look random will do. */
function idOf(i: number): ChunkId {
  return named<ChunkId>(`chunk ${i}`, 32);
}

/** So many chunks in a few stretches, another each time. */
function scattered(seed: number, count: number, of: number): readonly number[] {
  const chosen = new Set<number>();
  const length = Math.ceil(count / clusters);
  for (let i = 0; chosen.size < count; i++) {
    const start = named<Uint8Array>(`${seed} ${i}`, 8).reduce((value, byte) => (value * 256 + byte) % of, 0);
    for (let at = 0; at < length && chosen.size < count; at++) chosen.add((start + at) % of);
  }
  return [...chosen].sort((a, b) => a - b);
}
