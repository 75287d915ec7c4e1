// All sessions of a volume, oldest first, each chunk read once: where it was new. What a session does not name anew it
// has from the one before it, damage included; its map root is computed by the changes, as a send does. So the cost
// follows what is stored, and not the number of sessions times the size.

import { rmSync } from "node:fs";
import { join } from "node:path";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ManifestEntry } from "../../protocol/archive/manifest.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Bitmap, bitmap, resized } from "../delta/bitmap.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "../session/archive.ts";
import { changeOf } from "../session/catch-up.ts";
import type { Damage } from "../session/damage-report.ts";
import { makeDirectory } from "../state/atomic-file.ts";
import { type MapChange, openIdMap } from "../state/id-map.ts";
import { volumePathsIn } from "../state/layout.ts";
import { takeLock } from "../state/lock.ts";
import { checkChunks } from "./check-chunks.ts";
import { allSessions, type FoundSession } from "./find-session.ts";
import { type NumberedManifest, numberedManifest } from "./manifest-file.ts";
import type { MapStep } from "./record-source.ts";
import { crewFor } from "./restore-into.ts";
import { containerNumbers } from "./session-map.ts";

export interface VerifyAllOptions {
  /** Stored bytes of sessions that have been checked, of how many. */
  readonly onProgress: (done: number, total: number) => void;
  readonly signal: AbortSignal;
}

/** Gives what was found of each session, in order, and the stored bytes that were read. */
export async function verifyAllSessions(
  open: OpenArchive,
  index: VolumeIndex,
  options: VerifyAllOptions,
): Promise<{ readonly found: readonly Damage[]; readonly readBytes: number }> {
  const { chunkSize } = open.record;
  const sessions = allSessions(index);
  const total = sessions.reduce((sum, each) => sum + each.container.storedBytes, 0);
  using _lock = await takeLock(join(open.paths.directory, "verify.lock"), "verify --all-sessions", 0);
  const directory = join(open.paths.directory, "verify");
  rmSync(directory, { recursive: true, force: true });
  makeDirectory(directory);
  const found: Damage[] = [];
  let damaged = bitmap(0);
  let size = 0;
  let readBytes = 0;
  let lost: string | undefined;
  try {
    using ids = openIdMap(volumePathsIn(directory));
    for (const session of sessions) {
      const { record, container } = session;
      const name = container.name;
      const none: Bitmap = bitmap(Math.ceil(record.size / chunkSize));
      if (lost !== undefined) {
        found.push({ session: name, size: record.size, damaged: none, reasons: [], whole: lost });
        continue;
      }
      // Shrunk and grown again, all that is behind the smaller end is named anew: nothing of it is inherited.
      damaged = inherited(damaged, size, record.size, chunkSize);
      size = record.size;
      try {
        const checked = await checkSession(open, index, session, ids, damaged, options, (done) =>
          options.onProgress(readBytes + done, total),
        );
        readBytes += checked.readBytes;
        found.push({ session: name, size, damaged: copyOf(damaged), reasons: checked.reasons });
      } catch (error) {
        if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
        lost = error.message;
        found.push({ session: name, size, damaged: none, reasons: [], whole: lost });
      }
    }
    return { found, readBytes };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One session: the chunks that are new in it, and its map root. `damaged` becomes what is damaged in its map. */
async function checkSession(
  open: OpenArchive,
  index: VolumeIndex,
  { record, container }: FoundSession,
  ids: ReturnType<typeof openIdMap>,
  damaged: Bitmap,
  options: VerifyAllOptions,
  onProgress: (done: number) => void,
): Promise<{ readonly reasons: readonly string[]; readonly readBytes: number }> {
  const { chunkSize } = open.record;
  const { size } = record;
  const containers = containerNumbers();
  using manifest = await numberedManifest(open, index, container, containers.numberOf);
  const changes = function* (): Generator<MapChange> {
    for (const entry of entriesOf(manifest)) yield changeOf(entry, chunkSize);
  };
  const { groups, mapRoot } = ids.after(changes(), size, chunkSize);
  if (!equalBytes(mapRoot, record.mapRoot)) {
    throw new AgentError(
      "integrity",
      `${index.name}: ${container.name}: the archive's manifests do not make the session's map root`,
    );
  }
  const stamp = { session: record.uid, sequence: record.sequence, size, chunkSize, mapRoot };
  ids.apply(changes(), groups, stamp);
  const steps = function* (): Generator<MapStep> {
    for (const entry of entriesOf(manifest)) {
      clear(damaged, entry.address / chunkSize, entry.run);
      yield { entry, address: entry.address, run: entry.run };
    }
  };
  await using crew = crewFor(open, index, { size, chunkSize }, `verify ${index.name}`, options.signal);
  const { client } = open;
  const result = await checkChunks({
    client,
    crew,
    containers: containers.refs,
    steps: steps(),
    size,
    chunkSize,
    onProgress,
    signal: options.signal,
  });
  for (const [i, byte] of result.damaged.bytes.entries()) damaged.bytes[i] = (damaged.bytes[i] ?? 0) | byte;
  return result;
}

function* entriesOf(manifest: NumberedManifest): Generator<ManifestEntry> {
  const source = manifest.source();
  for (let entry = source.next(); entry !== undefined; entry = source.next()) yield entry;
}

function inherited(damaged: Bitmap, oldSize: number, newSize: number, chunkSize: number): Bitmap {
  const next = resized(damaged, oldSize, newSize, chunkSize);
  if (oldSize !== newSize) clear(next, Math.floor(Math.min(oldSize, newSize) / chunkSize), next.length);
  return next;
}

function clear(map: Bitmap, first: number, count: number): void {
  const end = Math.min(map.length, first + count);
  for (let at = first; at < end; at++) map.bytes[at >> 3] = (map.bytes[at >> 3] ?? 0) & ~(1 << (at & 7));
}

function copyOf(map: Bitmap): Bitmap {
  return { length: map.length, bytes: map.bytes.slice() };
}
