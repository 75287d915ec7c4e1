// A maker of valid archives for tests, as plain as can be: everything in memory, one chunk after the other, nothing
// shared with the agent or the receiver but the codecs in protocol/archive. What it writes is what
// docs/archive-format.md says, so reading it back tests the reader and not the writer's opinion.

import { randomBytes } from "node:crypto";
import { appendFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { type ArchiveHeader, encodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { chunkIdOf, publicIdKey } from "../../protocol/archive/chunk-id.ts";
import { chainOf, encodeHead, type HeadVolume, noChain } from "../../protocol/archive/head.ts";
import {
  type Consistency,
  type Container,
  encodeIndex,
  type SessionRecord,
} from "../../protocol/archive/index-file.ts";
import { listBuilder } from "../../protocol/archive/list-file.ts";
import {
  chunkCount,
  type ChunkEntry,
  type ContainerRef,
  encodeManifestHead,
  encodeRecord,
  type ManifestEntry,
  recordBytes,
} from "../../protocol/archive/manifest.ts";
import { mapRootBuilder } from "../../protocol/archive/map-root.ts";
import {
  chunkPath,
  directoryFor,
  indexFile,
  manifestFile,
  sessionNameAt,
} from "../../protocol/archive/names.ts";
import { fileDigest, sha256 } from "../../protocol/archive/prefix.ts";
import { encodeSessionHeader } from "../../protocol/archive/session-header.ts";
import {
  encodeOffsetRecord,
  offsetRecordBytes,
  offsetsBuilder,
  offsetsHeadBytes,
} from "../../protocol/archive/tar-layout.ts";
import {
  type ArchiveUuid,
  type ChunkAddress,
  type ChunkId,
  type Digest,
  type Generation,
  type GroupId,
  type Mac,
  maxStoredLength,
  type SessionName,
  type SessionUid,
  type VolumeId,
} from "../../protocol/archive/types.ts";
import { readmeText } from "../../vm-receiver/store/readme.ts";

/** A volume's content: bytes, or something that gives a chunk at a time (undefined where all of it is zeros). */
export type TestImage =
  | Uint8Array
  | { readonly size: number; read(address: number, length: number): Uint8Array | undefined };

export interface TestSendOptions {
  readonly form?: "dir" | "tar";
  /** Milliseconds since 1970; otherwise an hour after the send before, from 2026-11-23 10:15:00 UTC on. */
  readonly takenAt?: number;
  readonly tags?: readonly string[];
  readonly consistency?: Consistency;
  /** Refer to chunks that are in the archive already instead of storing them again; true unless told otherwise. */
  readonly deduplicate?: boolean;
  /** Gives the entries to write instead of the true ones, for archives that lie. */
  readonly alterEntries?: (entries: readonly ManifestEntry[]) => readonly ManifestEntry[];
}

export interface TestArchiveOptions {
  /** Bytes; 64 KiB unless told otherwise. */
  readonly chunkSize?: number;
  /** All volumes share their chunks, so that one's manifests refer to another's sessions. */
  readonly shared?: boolean;
  readonly header?: Partial<ArchiveHeader>;
  /** Second copies of the newest head and indexes; made unless told otherwise. */
  readonly copies?: boolean;
}

export interface TestSession {
  readonly name: SessionName;
  readonly uid: SessionUid;
  readonly form: "dir" | "tar";
  /** The session's directory or tar. */
  readonly path: string;
  readonly generation: Generation;
  readonly entries: readonly ManifestEntry[];
}

/** Where a chunk lies. */
interface Stored {
  readonly ref: ContainerRef;
  readonly address: ChunkAddress;
  readonly storedLength: number;
  readonly checksum: Digest;
}

interface TestVolume {
  readonly id: VolumeId;
  readonly group: GroupId;
  readonly name: string;
  readonly directory: string;
  readonly path: string;
  readonly stored: Map<string, Stored>;
  readonly containers: Container[];
  readonly sessions: SessionRecord[];
  readonly written: TestSession[];
  /** Ids of the last session's chunks in hexadecimal; undefined where it has a hole. */
  map: (string | undefined)[];
  size: number;
  index: HeadVolume | undefined;
}

export interface TestArchive {
  readonly path: string;
  readonly header: ArchiveHeader;
  /** Number of the newest head, 0 before the first send. */
  readonly generation: Generation;
  /** Backs up the volumes, by name, in one head; gives each one's session. */
  send(
    images: Readonly<Record<string, TestImage>>,
    options?: TestSendOptions,
  ): Readonly<Record<string, TestSession>>;
  /** The directory of a volume that has been sent. */
  volumePath(name: string): string;
  /** Sessions of a volume, oldest first. */
  sessionsOf(name: string): readonly TestSession[];
}

const random = <T extends Uint8Array>(bytes: number): T => new Uint8Array(randomBytes(bytes)) as T;
const firstSend = Date.UTC(2026, 10, 23, 10, 15, 0);
const hour = 3_600_000;

/** Makes the directory `path` and in it an archive that holds nothing yet. */
export function createTestArchive(path: string, options: TestArchiveOptions = {}): TestArchive {
  const header: ArchiveHeader = {
    uuid: random<ArchiveUuid>(16),
    chunkSize: options.chunkSize ?? 65_536,
    compression: "zstd",
    level: 3,
    sealed: false,
    createdAt: firstSend,
    idSeed: random(32),
    slots: [],
    mac: random<Mac>(32),
    ...options.header,
  };
  const archiveFile = encodeArchiveHeader(header);
  mkdirSync(join(path, "heads"), { recursive: true });
  writeFileSync(join(path, "archive"), archiveFile);
  const volumes = new Map<string, TestVolume>();
  const everyones = { group: random<GroupId>(16), stored: new Map<string, Stored>() };
  const log: Uint8Array[] = [];
  let chain = noChain;
  let lastTakenAt = firstSend - hour;

  const volumeOf = (name: string): TestVolume => {
    const known = volumes.get(name);
    if (known !== undefined) return known;
    const taken = [...volumes.values()].map((each) => each.directory);
    const directory = directoryFor(name, taken);
    const own =
      options.shared === true ? everyones : { group: random<GroupId>(16), stored: new Map<string, Stored>() };
    const volume: TestVolume = {
      ...own,
      id: random<VolumeId>(16),
      name,
      directory,
      path: join(path, directory),
      containers: [],
      sessions: [],
      written: [],
      map: [],
      size: 0,
      index: undefined,
    };
    mkdirSync(volume.path);
    writeFileSync(join(volume.path, "archive"), archiveFile);
    volumes.set(name, volume);
    return volume;
  };

  const writeIndex = (volume: TestVolume, generation: Generation): void => {
    const { id, name, group, containers, sessions } = volume;
    const bytes = encodeIndex({
      archive: header.uuid,
      volume: id,
      generation,
      containers,
      name,
      group,
      sessions,
    });
    writeFileSync(join(volume.path, indexFile(generation)), bytes);
    volume.index = {
      volume: id,
      directory: volume.directory,
      indexGeneration: generation,
      indexDigest: fileDigest(bytes),
    };
  };

  const writeCopies = (files: readonly string[]): void => {
    if (options.copies === false) return;
    rmSync(join(path, "copies"), { recursive: true, force: true });
    for (const file of files) cpSync(join(path, file), join(path, "copies", file));
  };

  const writeHead = (generation: Generation, createdAt: number): void => {
    const named = [...volumes.values()].flatMap((each) => each.index ?? []);
    const body = {
      createdAt,
      archiveGeneration: 0 as Generation,
      archiveDigest: fileDigest(archiveFile),
      volumes: named.sort((a, b) => Buffer.compare(a.volume, b.volume)),
    };
    const previousChain = chain;
    chain = chainOf(header.uuid, generation, previousChain, body);
    log.push(random(8));
    const head = {
      ...body,
      archive: header.uuid,
      generation,
      previousChain,
      chain,
      log: concatBytes(log),
      mac: random<Mac>(32),
    };
    writeFileSync(join(path, "heads", String(generation)), encodeHead(head));
    writeFileSync(join(path, "README.txt"), readmeText);
    writeCopies([
      `heads/${generation}`,
      ...named.map((each) => `${each.directory}/${indexFile(each.indexGeneration)}`),
    ]);
  };

  return {
    path,
    header,
    get generation() {
      return log.length as Generation;
    },
    send: (images, sendOptions = {}) => {
      const generation = (log.length + 1) as Generation;
      const takenAt = sendOptions.takenAt ?? lastTakenAt + hour;
      lastTakenAt = Math.max(takenAt, lastTakenAt);
      const sessions: Record<string, TestSession> = {};
      for (const [name, image] of Object.entries(images)) {
        const volume = volumeOf(name);
        sessions[name] = writeSession(header, volume, image, { ...sendOptions, takenAt, generation });
        writeIndex(volume, generation);
      }
      writeHead(generation, takenAt);
      return sessions;
    },
    volumePath: (name) => volumes.get(name)?.path ?? join(path, name),
    sessionsOf: (name) => volumes.get(name)?.written ?? [],
  };
}

/** The next free label from a time on. */
function freeName(volume: TestVolume, takenAt: number): SessionName {
  for (let at = takenAt; ; at += 1000) {
    const name = sessionNameAt(at);
    if (!volume.containers.some((each) => each.name === name)) return name;
  }
}

function writeSession(
  header: ArchiveHeader,
  volume: TestVolume,
  image: TestImage,
  options: TestSendOptions & { readonly takenAt: number; readonly generation: Generation },
): TestSession {
  const { chunkSize } = header;
  const { generation, takenAt, form = "dir", consistency = "clean" } = options;
  const size = image instanceof Uint8Array ? image.length : image.size;
  const uid = random<SessionUid>(16);
  const name = freeName(volume, takenAt);
  const identity = { archive: header.uuid, volume: volume.id, generation, session: uid };
  const sink = form === "dir" ? directorySink(volume.path, name) : tarSink(volume.path, name, identity);
  const list = listBuilder(identity);
  const listParts: Uint8Array[] = [list.head];
  const idKey = publicIdKey(header.idSeed, header.uuid, volume.group);

  // What the chunks are, and what of them is new to the archive.
  const map: (string | undefined)[] = [];
  for (let i = 0; i < chunkCount(size, chunkSize); i++) {
    const address = (i * chunkSize) as ChunkAddress;
    const plaintext = readChunk(image, address, Math.min(chunkSize, size - address));
    if (plaintext === undefined) {
      map.push(undefined);
      continue;
    }
    const id = toHex(chunkIdOf(idKey, plaintext));
    map.push(id);
    const equalBefore = i > 0 && map[i - 1] === id;
    const unchanged = volume.map[i] === id;
    const known = volume.stored.has(id) && (options.deduplicate !== false || unchanged || equalBefore);
    if (known) continue;
    const stored = compress(plaintext, header.level);
    const checksum = sha256(stored);
    volume.stored.set(id, {
      ref: { volume: volume.id, session: uid },
      address,
      storedLength: stored.length,
      checksum,
    });
    sink.chunk(address, stored);
    listParts.push(list.add({ address, storedLength: stored.length, checksum }));
  }

  const { entries: truth, table } = differences(volume, map, size, chunkSize, uid);
  const entries = options.alterEntries?.(truth) ?? truth;
  const records = new Uint8Array(entries.length * recordBytes);
  entries.forEach((entry, i) => encodeRecord(records, i * recordBytes, entry));
  const manifestHead = encodeManifestHead(
    identity,
    { session: uid, size, chunkSize, containers: table },
    entries.length,
  );
  const manifest = closed([manifestHead, records]);

  const root = mapRootBuilder(size, chunkSize);
  for (const id of map) root.add(id === undefined ? undefined : Buffer.from(id, "hex"), 1);
  const mapRoot = root.root();
  const sequence = (volume.sessions.at(-1)?.sequence ?? 0) + 1;
  const session = { uid, sequence, takenAt, size, mapRoot, consistency };
  const sessionHeader = encodeSessionHeader({
    ...session,
    archive: header.uuid,
    volume: volume.id,
    generation,
    name,
    volumeName: volume.name,
    chunkSize,
  });
  const { tail, digest: listDigest, chunks, bytes: storedBytes } = list.finish();
  sink.finish(manifest, generation, sessionHeader, Buffer.concat([...listParts, tail]));

  volume.map = map;
  volume.size = size;
  volume.sessions.push({ ...session, protected: false, tags: options.tags ?? [] });
  volume.containers.push({
    uid,
    name,
    form,
    headerDigest: fileDigest(sessionHeader),
    listGeneration: 0 as Generation,
    listDigest,
    manifestGeneration: generation,
    manifestDigest: fileDigest(manifest),
    chunks,
    storedBytes,
  });
  const written = { name, uid, form, path: sink.path, generation, entries };
  volume.written.push(written);
  return written;
}

/** The manifest's entries: what differs from the session before, equal chunks side by side as one run. */
function differences(
  volume: TestVolume,
  map: readonly (string | undefined)[],
  size: number,
  chunkSize: number,
  uid: SessionUid,
): { readonly entries: readonly ManifestEntry[]; readonly table: readonly ContainerRef[] } {
  const entries: ManifestEntry[] = [];
  const table: ContainerRef[] = [];
  const numberOf = (ref: ContainerRef): number => {
    if (equalBytes(ref.session, uid)) return 0;
    const known = table.findIndex(
      (each) => equalBytes(each.session, ref.session) && equalBytes(each.volume, ref.volume),
    );
    return known === -1 ? table.push(ref) : known + 1;
  };
  // Growth writes all of what is new, holes as well, from the chunk that held the smaller end.
  const grownFrom =
    volume.sessions.length > 0 && size > volume.size ? Math.floor(volume.size / chunkSize) : Infinity;
  for (const [i, id] of map.entries()) {
    const first = volume.sessions.length === 0;
    const differs = first ? id !== undefined : volume.map[i] !== id || i >= grownFrom;
    if (!differs) continue;
    const address = (i * chunkSize) as ChunkAddress;
    const last = entries.at(-1);
    const adjoins = last !== undefined && last.address + last.run * chunkSize === address;
    const short = address + chunkSize > size;
    if (id === undefined) {
      if (adjoins && last.kind === "hole") entries[entries.length - 1] = { ...last, run: last.run + 1 };
      else entries.push({ kind: "hole", address, run: 1 });
    } else if (adjoins && last.kind === "chunk" && toHex(last.id) === id && !short) {
      entries[entries.length - 1] = { ...last, run: last.run + 1 };
    } else {
      entries.push(chunkEntry(volume.stored.get(id)!, id, address, numberOf));
    }
  }
  return { entries, table };
}

function chunkEntry(
  stored: Stored,
  id: string,
  address: ChunkAddress,
  numberOf: (ref: ContainerRef) => number,
): ChunkEntry {
  return {
    kind: "chunk",
    address,
    run: 1,
    id: new Uint8Array(Buffer.from(id, "hex")) as ChunkId,
    container: numberOf(stored.ref),
    storedAddress: stored.address,
    storedLength: stored.storedLength,
    checksum: stored.checksum,
  };
}

function readChunk(image: TestImage, address: number, length: number): Uint8Array | undefined {
  const bytes =
    image instanceof Uint8Array ? image.subarray(address, address + length) : image.read(address, length);
  return bytes === undefined || Buffer.compare(bytes, new Uint8Array(length)) === 0 ? undefined : bytes;
}

function compress(plaintext: Uint8Array, level: number): Uint8Array {
  return zstdCompressSync(plaintext, {
    pledgedSrcSize: plaintext.length,
    // With room for all of it: Node adds an empty frame where the output just fills a buffer.
    chunkSize: maxStoredLength(Math.max(plaintext.length, 65_536)),
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
  });
}

/** The parts and the SHA-256 of them all. */
function closed(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, sha256(bytes)]);
}

interface Sink {
  readonly path: string;
  chunk(address: ChunkAddress, stored: Uint8Array): void;
  finish(manifest: Uint8Array, generation: Generation, header: Uint8Array, list: Uint8Array): void;
}

function directorySink(volumePath: string, name: SessionName): Sink {
  const path = join(volumePath, name);
  mkdirSync(path);
  return {
    path,
    chunk: (address, stored) => {
      const { group, file } = chunkPath(address);
      mkdirSync(join(path, group), { recursive: true });
      writeFileSync(join(path, group, file), stored);
    },
    finish: (manifest, generation, header, list) => {
      writeFileSync(join(path, manifestFile(generation)), manifest);
      writeFileSync(join(path, "header"), header);
      writeFileSync(join(path, "list"), list);
    },
  };
}

function tarSink(
  volumePath: string,
  name: SessionName,
  identity: Parameters<typeof offsetsBuilder>[0],
): Sink {
  const path = join(volumePath, `${name}.tar`);
  const offsets: Uint8Array[] = [];
  let size = 0;
  writeFileSync(path, "", { flag: "wx" });
  const append = (bytes: Uint8Array): void => {
    appendFileSync(path, bytes);
    size += bytes.length;
  };
  /** Adds a member; gives where its data lies. */
  const member = (file: string, data: Uint8Array): { offset: number; length: number } => {
    append(ustarHeader(`${name}/${file}`, data.length));
    const offset = size;
    append(data);
    append(new Uint8Array((512 - (data.length % 512)) % 512));
    return { offset, length: data.length };
  };
  return {
    path,
    chunk: (address, stored) => {
      const { group, file } = chunkPath(address);
      const record = new Uint8Array(offsetRecordBytes);
      encodeOffsetRecord(record, 0, { address, offset: member(`${group}/${file}`, stored).offset });
      offsets.push(record);
    },
    finish: (manifest, generation, header, list) => {
      const places = {
        manifest: member(manifestFile(generation), manifest),
        header: member("header", header),
        list: member("list", list),
      };
      const builder = offsetsBuilder(identity);
      const records = Buffer.concat(offsets);
      builder.add(records);
      const tail = builder.finish({
        ...places,
        recordsOffset: size + 512 + offsetsHeadBytes,
        records: offsets.length,
        manifestGeneration: generation,
      });
      member("offsets", Buffer.concat([builder.head, records, tail]));
      append(new Uint8Array(1024));
    },
  };
}

/** A POSIX ustar header for a regular file, as F27 has it. */
function ustarHeader(path: string, length: number): Uint8Array {
  const block = Buffer.alloc(512);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  block.write(path, 0);
  const [, y = "", mo = "", d = "", h = "", mi = "", s = ""] =
    /^S_(....)(..)(..)-(..)(..)(..)/.exec(path) ?? [];
  const seconds = Date.UTC(Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s)) / 1000;
  block.write(`${octal(0o600, 6)} \0${octal(0, 6)} \0${octal(0, 6)} \0${octal(length, 11)} `, 100, "latin1");
  block.write(`${octal(seconds, 11)} `, 136, "latin1");
  block.fill(" ", 148, 156);
  block.write("0", 156);
  block.write("ustar\u000000", 257, "latin1");
  block.write("000000 \0", 329, "latin1");
  block.write("000000 \0", 337, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)} \0`, 148);
  return block;
}
