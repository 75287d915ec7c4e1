// All sessions of a volume, oldest first, each chunk read once: where it was new. What a session does not name anew it
// has from the one before it, damage included; its map root is computed by the changes, as a send does. So the cost
// follows what is stored, and not the number of sessions times the size.

import { rmSync } from "node:fs";
import { join } from "node:path";
import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ChunkEntry, ContainerRef, ManifestEntry } from "../../protocol/archive/manifest.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { changeOf } from "../archive/catch-up.ts";
import { type Damage, damageOf, wholeDamage } from "./damage-report.ts";
import { type MapChange, openIdMap } from "../state/id-map.ts";
import { volumePathsIn } from "../state/layout.ts";
import { takeLock } from "../state/lock.ts";
import { checkChunks } from "./check-chunks.ts";
import { type DamageMap, damageMap } from "./damage-map.ts";
import type { Fetch } from "./plan.ts";
import { allSessions, type FoundSession } from "./find-session.ts";
import { type NumberedManifest, numberedManifest } from "./manifest-file.ts";
import type { MapStep } from "./record-source.ts";
import { crewFor } from "./restore-into.ts";
import { type ContainerNumbers, containerNumbers } from "./session-map.ts";
import { makeDirectory } from "../state/writing.ts";

/** What is done about a chunk that a manifest names: it is read and checked, known to be lost, or taken as right. */
export type Verdict = "read" | "lost" | "right";

export interface VerifyAllOptions {
  /** Without, all are read. Asked once or more for each entry, with the container that it lies in. */
  readonly judge?: (container: ContainerRef, entry: ChunkEntry) => Verdict;
  /** Hears of each chunk that was read and is not right. */
  readonly onLost?: (container: ContainerRef, chunk: Fetch) => void;
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
  const damage = damageMap(chunkSize);
  let readBytes = 0;
  let lost: string | undefined;
  try {
    using ids = openIdMap(volumePathsIn(directory));
    for (const session of sessions) {
      options.signal.throwIfAborted();
      const { record, container } = session;
      const { name } = container;
      if (lost !== undefined) {
        found.push(wholeDamage(name, lost));
        continue;
      }
      damage.next(record.size);
      try {
        const checked = await checkSession(open, index, session, ids, damage, options, (done) =>
          options.onProgress(readBytes + done, total),
        );
        readBytes += checked.readBytes;
        found.push(damageOf(name, damage.damaged, record.size, chunkSize, checked.reasons));
      } catch (error) {
        if (!(error instanceof AgentError) || error.reason !== "integrity") throw error;
        lost = error.message;
        found.push(wholeDamage(name, lost));
      }
    }
    return { found, readBytes };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One session: the chunks that are new in it, and its map root. `damage` becomes that of its map. */
async function checkSession(
  open: OpenArchive,
  index: VolumeIndex,
  { record, container }: FoundSession,
  ids: ReturnType<typeof openIdMap>,
  damage: DamageMap,
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
  const verdictOf = (entry: ManifestEntry): Verdict => {
    if (entry.kind === "hole") return "right";
    return options.judge?.(refOf(containers, entry), entry) ?? "read";
  };
  let reads = false;
  for (const entry of entriesOf(manifest)) {
    const verdict = verdictOf(entry);
    reads ||= verdict === "read";
    damage.name(entry.address / chunkSize, entry.run, verdict === "lost");
  }
  if (!reads) return { reasons: [], readBytes: 0 };
  const steps = function* (): Generator<MapStep> {
    for (const entry of entriesOf(manifest))
      if (verdictOf(entry) === "read") yield { entry, address: entry.address, run: entry.run };
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
    onLost: (fetch) => options.onLost?.(refOf(containers, fetch), fetch),
    onProgress,
    signal: options.signal,
  });
  damage.add(result.damaged);
  return result;
}

/** Where a chunk lies whose container has a number. */
function refOf(containers: ContainerNumbers, { container }: { readonly container: number }): ContainerRef {
  const ref = containers.refs[container - 1];
  if (ref === undefined) throw new RangeError(`container ${container} of ${containers.refs.length}`);
  return ref;
}

function* entriesOf(manifest: NumberedManifest): Generator<ManifestEntry> {
  const source = manifest.source();
  for (let entry = source.next(); entry !== undefined; entry = source.next()) yield entry;
}
