// The map of an archive's last session of a volume: 32 bytes a chunk, in a sparse file, with the digests of its
// groups beside it (design section 5, "two rebuildable caches"). One small read tells what a chunk was; ten changed
// chunks in a terabyte touch ten groups. It is only a cache: the stamp names the session that it belongs to and is
// taken away while it is changed, and every group is checked against its digest before it is built upon.

import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, rmSync } from "node:fs";
import { chunkCount } from "../../protocol/archive/manifest.ts";
import {
  groupChunks,
  groupCount,
  groupDigest,
  mapIdBytes,
  mapRootOf,
} from "../../protocol/archive/map-root.ts";
import { type Digest, digestBytes, type SessionUid, uidBytes } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { removeFile } from "./atomic-file.ts";
import type { VolumePaths } from "./layout.ts";
import { DamagedStateError, field, readRecord, writeRecord } from "./record.ts";
import { readFully } from "../read-fully.ts";
import { writeAll, writing } from "./writing.ts";

/** The chunks from `start` on, `count` of them, have `id` now; undefined: they are holes. Indices, not bytes. */
export interface MapChange {
  readonly start: number;
  readonly count: number;
  readonly id: Uint8Array | undefined;
}

/** The session that a map belongs to. */
export interface MapStamp {
  readonly session: SessionUid;
  readonly sequence: number;
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
  readonly mapRoot: Digest;
}

export interface IdMap extends Disposable {
  /** undefined for a map that is empty: of no session. */
  readonly stamp: MapStamp | undefined;
  /** The file of the ids, for worker threads: chunk i has its id at 32·i, zeros are a hole. */
  readonly fd: number;
  /** Chunks that the map covers. */
  readonly chunks: number;
  /** The ids of `count` chunks from `start` on. */
  read(start: number, count: number): Uint8Array;
  /** Throws DamagedStateError unless the ids of these groups fit their digests. */
  verify(groups: Iterable<number>): void;
  /** The groups' digests and the map root that the map has after `changes`, which rise. Changes nothing. Throws
   *  DamagedStateError when a group that is touched does not fit its digest. */
  after(
    changes: Iterable<MapChange>,
    size: number,
    chunkSize: number,
  ): { readonly groups: Uint8Array; readonly mapRoot: Digest };
  /** Makes `changes` and belongs to the session of `stamp` from then on. */
  apply(changes: Iterable<MapChange>, groups: Uint8Array, stamp: MapStamp): void;
}

/**
 * Opens the map in `paths`, empty where there is none or where a change of it was cut short. Throws DamagedStateError
 * when its parts don't fit together; `dropIdMap` then makes it empty.
 */
export function openIdMap(paths: VolumePaths): IdMap {
  let stamp = readRecord(paths.stamp, checkStamp);
  const [fd, groupsFd] = [paths.ids, paths.groups].map((path) =>
    writing(path, () => openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)),
  ) as [number, number];
  try {
    if (stamp === undefined) {
      ftruncateSync(fd, 0);
      ftruncateSync(groupsFd, 0);
    } else checkParts(paths, stamp, fd, groupsFd);
  } catch (error) {
    closeSync(fd);
    closeSync(groupsFd);
    throw error;
  }

  const chunks = (): number => (stamp === undefined ? 0 : chunkCount(stamp.size, stamp.chunkSize));
  const read = (start: number, count: number): Uint8Array => {
    const ids = new Uint8Array(count * mapIdBytes);
    readFully(fd, ids, start * mapIdBytes, "an id map");
    return ids;
  };

  return {
    get stamp() {
      return stamp;
    },
    fd,
    get chunks() {
      return chunks();
    },
    read,
    verify: (groups) => {
      const digests = readWhole(groupsFd);
      for (const group of groups) {
        const start = group * groupChunks;
        const count = Math.min(groupChunks, chunks() - start);
        if (count > 0) checkGroup(group, read(start, count), digests, paths.ids);
      }
    },
    after: (changes, size, chunkSize) => {
      const count = chunkCount(size, chunkSize);
      const known = Math.min(chunks(), count);
      const old = readWhole(groupsFd);
      const groups = new Uint8Array(groupCount(size, chunkSize) * mapIdBytes);
      groups.set(old.subarray(0, groups.length));
      const view = groupEditor({ groups, old, count, known, chunks: chunks(), read, path: paths.ids });
      // The group that held the smaller end has another number of chunks now.
      if (chunks() !== count && known > 0) view.touch(Math.floor((known - 1) / groupChunks));
      for (const change of changes) view.change(change);
      view.close();
      return { groups, mapRoot: mapRootOf(size, chunkSize, groups) };
    },
    apply: (changes, groups, next) => {
      removeFile(paths.stamp);
      stamp = undefined;
      for (const { start, count, id } of changes) writeRun(fd, start, count, id);
      ftruncateSync(fd, chunkCount(next.size, next.chunkSize) * mapIdBytes);
      ftruncateSync(groupsFd, groups.length);
      writeAll(groupsFd, groups, 0);
      fsyncSync(fd);
      fsyncSync(groupsFd);
      writeRecord(paths.stamp, {
        session: toHex(next.session),
        sequence: next.sequence,
        size: next.size,
        chunkSize: next.chunkSize,
        mapRoot: toHex(next.mapRoot),
      });
      stamp = next;
    },
    [Symbol.dispose]: () => {
      closeSync(fd);
      closeSync(groupsFd);
    },
  };
}

/** Forgets the map: the next openIdMap gives an empty one. */
export function dropIdMap(paths: VolumePaths): void {
  removeFile(paths.stamp);
  rmSync(paths.ids, { force: true });
  rmSync(paths.groups, { force: true });
}

function checkStamp(value: Record<string, unknown>): MapStamp {
  return {
    session: field.hex<SessionUid>(value, "session", uidBytes),
    sequence: field.number(value, "sequence"),
    size: field.number(value, "size"),
    chunkSize: field.chunkSize(value, "chunkSize"),
    mapRoot: field.hex<Digest>(value, "mapRoot", digestBytes),
  };
}

function checkParts(paths: VolumePaths, stamp: MapStamp, fd: number, groupsFd: number): void {
  const groups = readWhole(groupsFd);
  if (groups.length !== groupCount(stamp.size, stamp.chunkSize) * mapIdBytes) {
    throw new DamagedStateError(paths.groups, `${groups.length} bytes, which is not what the stamp says`);
  }
  if (!equalBytes(mapRootOf(stamp.size, stamp.chunkSize, groups), stamp.mapRoot)) {
    throw new DamagedStateError(paths.groups, "the digests of the groups do not make the map root");
  }
  if (fstatSync(fd).size !== chunkCount(stamp.size, stamp.chunkSize) * mapIdBytes) {
    throw new DamagedStateError(paths.ids, "its length is not what the stamp says");
  }
}

interface Editing {
  readonly groups: Uint8Array;
  readonly old: Uint8Array;
  readonly count: number;
  readonly known: number;
  readonly chunks: number;
  readonly read: (start: number, count: number) => Uint8Array;
  readonly path: string;
}

/** Walks groups in rising order, one in memory at a time. */
function groupEditor(on: Editing): {
  touch(group: number): void;
  change(change: MapChange): void;
  close(): void;
} {
  let current = -1;
  let ids = new Uint8Array(0);
  // The group of the smaller end may be touched before changes to groups in front of it.
  let deferred = -1;

  const load = (group: number): void => {
    const start = group * groupChunks;
    const before = Math.max(0, Math.min(groupChunks, on.chunks - start));
    const found = on.read(start, before);
    if (before > 0) checkGroup(group, found, on.old, on.path);
    ids = new Uint8Array(Math.min(groupChunks, on.count - start) * mapIdBytes);
    ids.set(found.subarray(0, ids.length));
    current = group;
  };
  const store = (): void => {
    if (current >= 0) on.groups.set(groupDigest(current, ids), current * mapIdBytes);
    current = -1;
  };
  const touch = (group: number): void => {
    if (group === current) return;
    store();
    if (deferred >= 0 && deferred < group) {
      load(deferred);
      store();
    }
    if (deferred <= group) deferred = -1;
    load(group);
  };

  return {
    touch: (group) => {
      deferred = group;
    },
    change: ({ start, count, id }) => {
      for (let at = start; at < Math.min(start + count, on.count);) {
        const group = Math.floor(at / groupChunks);
        touch(group);
        const end = Math.min(start + count, on.count, (group + 1) * groupChunks);
        for (; at < end; at++) {
          const place = (at - group * groupChunks) * mapIdBytes;
          if (id === undefined) ids.fill(0, place, place + mapIdBytes);
          else ids.set(id, place);
        }
      }
    },
    close: () => {
      store();
      if (deferred >= 0) {
        load(deferred);
        store();
      }
    },
  };
}

function checkGroup(group: number, ids: Uint8Array, digests: Uint8Array, path: string): void {
  const known = digests.subarray(group * mapIdBytes, (group + 1) * mapIdBytes);
  if (equalBytes(groupDigest(group, ids), known)) return;
  throw new DamagedStateError(path, `the ids of group ${group} do not fit their digest`);
}

const runChunks = 4096;

function writeRun(fd: number, start: number, count: number, id: Uint8Array | undefined): void {
  const block = new Uint8Array(Math.min(count, runChunks) * mapIdBytes);
  if (id !== undefined) for (let at = 0; at < block.length; at += mapIdBytes) block.set(id, at);
  for (let done = 0; done < count; done += runChunks) {
    writeAll(
      fd,
      block.subarray(0, Math.min(runChunks, count - done) * mapIdBytes),
      (start + done) * mapIdBytes,
    );
  }
}

function readWhole(fd: number): Uint8Array {
  const bytes = new Uint8Array(fstatSync(fd).size);
  readFully(fd, bytes, 0, "an id map");
  return bytes;
}
