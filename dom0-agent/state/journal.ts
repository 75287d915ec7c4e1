// What was sent of a session: written as frames go out, so that after an interruption dom0 knows by itself which chunk
// lies where, and need not believe the VM (design section 5, "an interrupted send goes on"). It is not synced chunk by
// chunk: a record that did not get to the disk costs one chunk that is sent again. docs/state.md has its bytes.
//
//   "SPBKJRNL" | version u32 = 1 | archive 16 | volume 16 | session 16 | group 16 | volume size u64 | chunk size u32 | CRC-32
//   records of 80 bytes: address u64 | stored length u32 | checksum 32 | chunk id 32 | CRC-32 of these 76

import { closeSync, constants, fdatasyncSync, fstatSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import type { ChunkEntry } from "../../protocol/archive/manifest.ts";
import {
  type ArchiveUuid,
  archiveUuid,
  type ChunkAddress,
  type ChunkId,
  type Digest,
  type GroupId,
  groupId,
  type SessionUid,
  sessionUid,
  type VolumeId,
  volumeId,
  volumeSize,
  chunkSizeField,
} from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type Codec, decode, encode, fixedBytes, only, struct, u32 } from "../../protocol/wire/codec.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { syncDirectory } from "./atomic-file.ts";
import { readAvailable } from "../read-fully.ts";
import { createFile, writeAll, writing } from "./writing.ts";

/** The session that a journal is of. */
export interface JournalIdentity {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly session: SessionUid;
  /** Which other volumes' ids its ids can be compared with. */
  readonly group: GroupId;
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
}

/** A chunk that was handed to the pipe. */
export interface JournalEntry {
  readonly address: ChunkAddress;
  readonly storedLength: number;
  readonly checksum: Digest;
  readonly id: ChunkId;
}

export interface Journal extends Disposable {
  /** Notes chunks that are about to go out, behind those before. */
  add(chunks: readonly ChunkEntry[]): void;
}

const magic = utf8("SPBKJRNL");
const headBytes = 8 + 4 + 16 * 4 + 8 + 4;
const recordBytes = 80;
const crcAt = recordBytes - 4;
/** Records after which the file is synced: what a power cut of this machine may cost. */
const syncEvery = 1024;

interface Head extends JournalIdentity {
  readonly magic: Uint8Array;
  readonly version: number;
}
const head: Codec<Head> = struct<Head>({
  magic: only(fixedBytes(magic.length), (found) => equalBytes(found, magic), "SPBKJRNL"),
  version: only(u32, (n) => n === 1, "version 1"),
  archive: archiveUuid,
  volume: volumeId,
  session: sessionUid,
  group: groupId,
  size: volumeSize,
  chunkSize: chunkSizeField,
});

/** The journal of a session at `path`; the file is made with the first chunk. */
export function createJournal(path: string, of: JournalIdentity): Journal {
  let fd: number | undefined;
  let unsynced = 0;
  const begin = (): number => {
    fd = createFile(path);
    const bytes = new Uint8Array(headBytes + 4);
    bytes.set(encode(head, { ...of, magic, version: 1 }));
    new DataView(bytes.buffer).setUint32(headBytes, crc32(bytes.subarray(0, headBytes)));
    writeAll(fd, bytes);
    syncDirectory(dirname(path));
    return fd;
  };
  return {
    add: (chunks) => {
      fd ??= begin();
      const bytes = new Uint8Array(chunks.length * recordBytes);
      for (const [i, chunk] of chunks.entries()) writeRecord(bytes, i * recordBytes, chunk);
      writeAll(fd, bytes);
      unsynced += chunks.length;
      if (unsynced < syncEvery) return;
      const synced = fd;
      writing(path, () => fdatasyncSync(synced));
      unsynced = 0;
    },
    [Symbol.dispose]: () => {
      if (fd !== undefined) closeSync(fd);
    },
  };
}

/** Whose journal lies at `path`; undefined where there is none that can be used. */
export function journalIdentity(path: string): JournalIdentity | undefined {
  const fd = openIfThere(path);
  if (fd === undefined) return undefined;
  try {
    const bytes = readPart(fd, 0, headBytes + 4);
    if (bytes.length < headBytes + 4) return undefined;
    const body = bytes.subarray(0, headBytes);
    if (new DataView(bytes.buffer).getUint32(headBytes) !== crc32(body)) return undefined;
    const { magic: _magic, version: _version, ...of } = decode(head, body, "journal");
    return of;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** What a journal says was sent, in rising order; it ends at the first record that is torn or damaged. */
export function* readJournal(path: string): Generator<JournalEntry, void, undefined> {
  const fd = openIfThere(path);
  if (fd === undefined) return;
  try {
    const end = fstatSync(fd).size;
    const step = recordBytes * 1024;
    let last = -1;
    for (let at = headBytes + 4; at + recordBytes <= end; at += step) {
      const part = readPart(fd, at, Math.min(step, end - at));
      for (let from = 0; from + recordBytes <= part.length; from += recordBytes) {
        const entry = readRecord(part.subarray(from, from + recordBytes));
        if (entry === undefined || entry.address <= last) return;
        last = entry.address;
        yield entry;
      }
    }
  } finally {
    closeSync(fd);
  }
}

function writeRecord(target: Uint8Array, at: number, chunk: ChunkEntry): void {
  const view = new DataView(target.buffer, target.byteOffset + at, recordBytes);
  view.setUint32(0, Math.floor(chunk.address / 2 ** 32));
  view.setUint32(4, chunk.address % 2 ** 32);
  view.setUint32(8, chunk.storedLength);
  target.set(chunk.checksum, at + 12);
  target.set(chunk.id, at + 44);
  view.setUint32(crcAt, crc32(target.subarray(at, at + crcAt)));
}

function readRecord(bytes: Uint8Array): JournalEntry | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, recordBytes);
  if (view.getUint32(crcAt) !== crc32(bytes.subarray(0, crcAt))) return undefined;
  const address = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
  if (!Number.isSafeInteger(address)) return undefined;
  return {
    address: address as ChunkAddress,
    storedLength: view.getUint32(8),
    checksum: bytes.slice(12, 44) as Digest,
    id: bytes.slice(44, crcAt) as ChunkId,
  };
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The bytes at `position`, fewer where the file ends. */
function readPart(fd: number, position: number, length: number): Uint8Array {
  const part = new Uint8Array(length);
  return part.subarray(0, readAvailable(fd, part, position, "a journal"));
}
