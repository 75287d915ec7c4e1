// The map of a session: which chunk, lying where, has the content of each address. It is the sum of the manifests of
// all sessions up to that one, newest first (design section 7). Few of them are open at once, each with a small
// buffer, so memory follows neither the number of sessions nor the size of the volume.

import { chunkCount } from "../../protocol/archive/manifest.ts";
import { mergeManifests } from "../../protocol/archive/merge.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { OpenSource } from "./manifest-source.ts";
import { manifestSource } from "./manifest-source.ts";
import type { ArchiveState } from "./archive-state.ts";
import { type ContainerTable, sessionPlace } from "./places.ts";
import { openManifestRange } from "./session-files.ts";
import { allSessions, type FoundSession } from "./sessions.ts";
import { type MapStep, spool } from "./spool.ts";

export type { MapStep } from "./spool.ts";

/** Manifests that are open at once, in one merge. */
const maxOpen = 64;

export interface MapRequest {
  readonly state: ArchiveState;
  /** The volume's directory and its index. */
  readonly directory: string;
  readonly index: VolumeIndex;
  readonly session: FoundSession;
  readonly containers: ContainerTable;
  /** What opens manifests of a sealed archive. */
  readonly opener: BodyOpener | undefined;
  /** Where merged manifests are kept when there are more than may be open at once. */
  readonly temporaryDirectory: string;
}

type OpenLater = () => OpenSource;

/**
 * Walks the map of a session from its first chunk to its last, without gap or overlap; entries name containers by
 * their numbers in `containers`. An entry is valid until the next step. Throws AssembleError for manifests that are
 * missing or damaged, before the first step where it can.
 */
export function* sessionMap(request: MapRequest): Generator<MapStep, void, undefined> {
  const { size } = request.session.record;
  const { chunkSize } = request.state.header;
  // A batch must not cut a run in the middle of the last chunk: whether that one is short, the newest session says.
  const wholeChunks = chunkCount(size, chunkSize) * chunkSize;
  const of = { size: wholeChunks, chunkSize, containers: request.containers };

  const merged = function* (newestFirst: readonly OpenLater[]): Generator<MapStep, void, undefined> {
    const open: OpenSource[] = [];
    try {
      for (const each of newestFirst) open.push(each());
      yield* mergeManifests(open, wholeChunks, chunkSize);
    } finally {
      for (const each of open) each.close();
    }
  };
  const batched = (newestFirst: readonly OpenLater[]): readonly OpenLater[] => {
    if (newestFirst.length <= maxOpen) return newestFirst;
    const batches: OpenLater[] = [];
    for (let i = 0; i < newestFirst.length; i += maxOpen) {
      const batch = newestFirst.slice(i, i + maxOpen);
      batches.push(() => spool(merged(batch), request.temporaryDirectory, of));
    }
    return batched(batches);
  };

  yield* merged(batched(manifestsNewestFirst(request)));
}

function manifestsNewestFirst(request: MapRequest): OpenLater[] {
  const { state, directory, index, containers } = request;
  return allSessions(index)
    .filter((each) => each.record.sequence <= request.session.record.sequence)
    .reverse()
    .map(({ container }) => () => {
      const expected = {
        archive: index.archive,
        volume: index.volume,
        session: container.uid,
        generation: container.manifestGeneration,
        digest: container.manifestDigest,
        chunkSize: state.header.chunkSize,
      };
      const range = openManifestRange(
        sessionPlace(state, directory, container),
        container.manifestGeneration,
      );
      return manifestSource(range, expected, (ref) => containers.numberOf(ref), request.opener);
    });
}
