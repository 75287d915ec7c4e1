// Brings dom0's id map up to an archive's last session, from the archive's own manifests: after a lost state, a
// commit whose answer never came, or a session that another host has sent (design section 5).

import { closeSync, openSync, readSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { containerOf, type SessionRecord, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import {
  decodeManifestHead,
  type ManifestEntry,
  maxManifestHeadBytes,
  recordBytes,
  recordReader,
} from "../../protocol/archive/manifest.ts";
import { type Digest, digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { writeAll } from "../state/atomic-file.ts";
import { dropIdMap, type IdMap, type MapChange, openIdMap } from "../state/id-map.ts";
import type { VolumePaths } from "../state/layout.ts";
import { DamagedStateError } from "../state/record.ts";
import { metaOf, type OpenArchive, verified } from "./archive.ts";

/** Bytes of the largest manifest that dom0 takes: that of a 16 TiB volume in chunks of 128 KiB. */
const maxManifestBytes = 16 * 1024 * 1024 * 1024;

/**
 * The id map of the index's last session. Only what is missing is fetched; where the map can't be built upon, all of
 * it is. `onNotice` hears why. Throws AgentError `integrity` when the manifests don't make the map root.
 */
export async function idMapFor(
  open: OpenArchive,
  index: VolumeIndex | undefined,
  paths: VolumePaths,
  onNotice: (message: string) => void,
): Promise<IdMap> {
  let map: IdMap;
  try {
    map = openIdMap(paths);
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    onNotice(`${error.message}; the map is made again from the archive`);
    dropIdMap(paths);
    map = openIdMap(paths);
  }
  const sessions = index?.sessions ?? [];
  const stamp = map.stamp;
  const at = stamp === undefined ? -1 : sessions.findIndex((each) => isStampOf(each, stamp));
  if (stamp !== undefined && at < 0) {
    map[Symbol.dispose]();
    dropIdMap(paths);
    map = openIdMap(paths);
  }
  try {
    for (const session of sessions.slice(at + 1)) await applySession(open, index, session, map, paths);
    return map;
  } catch (error) {
    map[Symbol.dispose]();
    if (at < 0 || !(error instanceof DamagedStateError)) throw error;
    onNotice(`${error.message}; the map is made again from the archive`);
    dropIdMap(paths);
    return idMapFor(open, index, paths, onNotice);
  }
}

function isStampOf(session: SessionRecord, stamp: NonNullable<IdMap["stamp"]>): boolean {
  return equalBytes(session.uid, stamp.session) && equalBytes(session.mapRoot, stamp.mapRoot);
}

async function applySession(
  open: OpenArchive,
  index: VolumeIndex | undefined,
  session: SessionRecord,
  map: IdMap,
  paths: VolumePaths,
): Promise<void> {
  const container = index === undefined ? undefined : containerOf(index, session.uid);
  if (index === undefined || container === undefined) return;
  const name = metaOf("manifest", container.manifestGeneration, index.volume, session.uid);
  const spool = `${paths.entries}.fetched`;
  const fd = openSync(spool, "w+", 0o600);
  try {
    const length = await open.client.read(name, maxManifestBytes, (bytes) => writeAll(fd, bytes));
    const what = `manifest.${container.manifestGeneration} of ${container.name}`;
    if (length === undefined) throw new AgentError("integrity", `${what}: the receiver does not have it`);
    if (!equalBytes(digestOfSpool(fd, length), container.manifestDigest)) {
      throw new AgentError("integrity", `${what}: it is not the one that the index names`);
    }
    const changes = (): Iterable<MapChange> => verifiedChanges(fd, length, what);
    const { groups, mapRoot } = map.after(changes(), session.size, open.record.chunkSize);
    if (!equalBytes(mapRoot, session.mapRoot)) {
      if (map.stamp !== undefined)
        throw new DamagedStateError(paths.ids, `${what} does not lead to the map root`);
      throw new AgentError(
        "integrity",
        `${what}: the archive's manifests do not make the session's map root`,
      );
    }
    const { chunkSize } = open.record;
    map.apply(changes(), groups, {
      session: session.uid,
      sequence: session.sequence,
      size: session.size,
      chunkSize,
      mapRoot,
    });
  } finally {
    closeSync(fd);
    rmSync(spool, { force: true });
  }
}

function* verifiedChanges(fd: number, length: number, what: string): Generator<MapChange> {
  const head = verified(what, () =>
    decodeManifestHead(readPart(fd, 0, Math.min(length, maxManifestHeadBytes)), length, {}),
  );
  const reader = recordReader(head);
  const step = recordBytes * 4096;
  for (let at = 0; at < head.records * recordBytes; at += step) {
    const part = readPart(fd, head.recordsAt + at, Math.min(step, head.records * recordBytes - at));
    for (const entry of verified(what, () => reader.read(part))) yield changeOf(entry, head.chunkSize);
  }
}

/** What an entry means to the id map. */
export function changeOf(entry: ManifestEntry, chunkSize: number): MapChange {
  return {
    start: entry.address / chunkSize,
    count: entry.run,
    id: entry.kind === "chunk" ? entry.id : undefined,
  };
}

/** SHA-256 of a file but its last 32 bytes, if those are the same; zeros, which nothing has, if not. */
function digestOfSpool(fd: number, length: number): Digest {
  const hash = createHash("sha256");
  const end = Math.max(0, length - digestBytes);
  const step = 1024 * 1024;
  for (let at = 0; at < end; at += step) hash.update(readPart(fd, at, Math.min(step, end - at)));
  const digest = new Uint8Array(hash.digest());
  const stated = readPart(fd, end, length - end);
  return (equalBytes(digest, stated) ? digest : new Uint8Array(digestBytes)) as Digest;
}

function readPart(fd: number, position: number, length: number): Uint8Array {
  const part = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = readSync(fd, part, done, length - done, position + done);
    if (got === 0) throw new RangeError(`read manifest: found its end at ${position + done}`);
    done += got;
  }
  return part;
}
