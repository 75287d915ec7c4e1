// Brings dom0's id map up to an archive's last session, from the archive's own manifests: after a lost state, a
// commit whose answer never came, or a session that another host has sent (design section 5).

import { containerOf, type SessionRecord, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ManifestEntry } from "../../protocol/archive/manifest.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { dropIdMap, type IdMap, type MapChange, openIdMap } from "../state/id-map.ts";
import type { VolumePaths } from "../state/layout.ts";
import { DamagedStateError } from "../state/record.ts";
import type { OpenArchive } from "./archive.ts";
import { type FetchedManifest, fetchManifest } from "./fetch-manifest.ts";

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
  using manifest = await fetchManifest(open, index, container, `${paths.entries}.fetched`);
  const changes = (): Iterable<MapChange> => changesIn(manifest);
  const { groups, mapRoot } = map.after(changes(), session.size, open.record.chunkSize);
  if (!equalBytes(mapRoot, session.mapRoot)) {
    if (map.stamp !== undefined)
      throw new DamagedStateError(paths.ids, `${manifest.what} does not lead to the map root`);
    throw new AgentError(
      "integrity",
      `${manifest.what}: the archive's manifests do not make the session's map root`,
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
}

function* changesIn(manifest: FetchedManifest): Generator<MapChange> {
  for (const entry of manifest.entries()) yield changeOf(entry, manifest.chunkSize);
}

/** What an entry means to the id map. */
export function changeOf(entry: ManifestEntry, chunkSize: number): MapChange {
  return {
    start: entry.address / chunkSize,
    count: entry.run,
    id: entry.kind === "chunk" ? entry.id : undefined,
  };
}
