// One volume's session, from the choice of its chunks to the state that remembers it (design section 5). The data
// goes one way: candidates, workers, frames and records, manifest, index, head.

import { randomBytes } from "node:crypto";
import type { Consistency, Container, VolumeIndex } from "../../protocol/archive/index-file.ts";
import { listBuilder } from "../../protocol/archive/list-file.ts";
import type { Generation, SessionName, SessionUid } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Pending } from "../../protocol/wire/messages.ts";
import { countSet } from "../delta/bitmap.ts";
import type { VolumeTask } from "../pipeline/job.ts";
import { lostPlaces } from "../state/lost-places.ts";
import { idsToPutBack, withLost } from "./put-back.ts";
import type { Pool } from "../pipeline/pool.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { readLost } from "../state/lost-chunks.ts";
import { dropIdMap, type IdMap } from "../state/id-map.ts";
import { noteCurrent } from "../state/last-session.ts";
import { createJournal } from "../state/journal.ts";
import { takeLock } from "../state/lock.ts";
import { DamagedStateError } from "../state/record.ts";
import { noteUnfinished } from "../state/unfinished-prune.ts";
import type { OpenVolume } from "../storage/storage.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { beginVolume, type Monitored, type Source } from "./begin-volume.ts";
import { changeOf, idMapFor } from "../archive/catch-up.ts";
import { holeEntries } from "./choose-chunks.ts";
import type { Context } from "../context.ts";
import { finishSession } from "./finish-session.ts";
import { openGroupIndex } from "../archive/group-index.ts";
import { knownChunks } from "./known-chunks.ts";
import { discardLeftover, settleLeftovers } from "./leftovers.ts";
import { manifestSpool } from "../archive/manifest-spool.ts";
import { stateLockSeconds } from "../monitor/state-lock.ts";
import { reconcile, settleUnchanged } from "./reconcile.ts";
import { salvageLeftovers } from "./salvage.ts";
import { freeName, namesOf } from "../archive/session-name.ts";
import { streamChunks } from "./stream-chunks.ts";
import { candidatesFor, chooseChunks, openSource } from "./what-to-read.ts";

export interface SendOptions {
  readonly form: "dir" | "tar";
  /** Take what each VM's last start left, not what it writes now. */
  readonly committed: boolean;
  readonly tags: readonly string[];
  /** Milliseconds since 1970, from which the run's sessions get their name: its start, or later where that is taken. */
  readonly startedAt: number;
}

export interface VolumeSendOptions extends SendOptions {
  /** What earlier sends of the volume have left uncommitted, and dom0 has journals of. */
  readonly leftovers: readonly Pending[];
}

/** What a send of a volume came to. */
export interface SentVolume {
  readonly kind: "full" | "incremental" | "compared" | "unchanged";
  readonly session: SessionName | undefined;
  /** Bytes of the volume, bytes of it that were read, chunks and bytes that were stored. */
  readonly size: number;
  readonly readBytes: number;
  /** Bytes that went to the receiver: data, manifest, index and head. */
  readonly sentBytes: number;
  readonly chunks: number;
  readonly storedBytes: number;
  /** Chunks that had changed and were there already: they are referred to. */
  readonly reused: number;
  /** Chunks that should not have changed did, so the delta map was dropped and everything compared. */
  readonly sampleFailed: boolean;
}

/** Sends a volume and commits its session. Throws what storage, transport and receiver throw; what was begun is then
 *  pending, and settled by the next send. A damaged id map is noticed before anything is sent, and made again. */
export async function sendVolume(...args: Parameters<typeof sendOnce>): Promise<SentVolume> {
  const [context, open, , known] = args;
  const paths = open.paths.volume(known.id);
  try {
    return await sendOnce(...args);
  } catch (error) {
    if (!(error instanceof DamagedStateError) || (error.path !== paths.ids && error.path !== paths.groups))
      throw error;
    context.report.notice(`${known.name}: ${error.message}; the map is made again from the archive`);
    dropIdMap(paths);
    return sendOnce(...args);
  }
}

async function sendOnce(
  context: Context,
  open: OpenArchive,
  pool: Pool,
  known: KnownVolume,
  index: VolumeIndex | undefined,
  monitored: Monitored,
  options: VolumeSendOptions,
): Promise<SentVolume> {
  const sentBefore = open.client.sentBytes;
  const uid = new Uint8Array(randomBytes(16)) as SessionUid;
  const last = index?.sessions.at(-1);
  const skipUnchanged = options.tags.length === 0;
  const lost = lostPlaces(
    readLost(open.paths, (message) => context.report.warn(message)),
    known.group,
  );
  const source = await beginVolume(context, open, known, index, uid, monitored, options);
  const nothing = {
    session: undefined,
    size: source.size,
    readBytes: 0,
    sentBytes: 0,
    chunks: 0,
    storedBytes: 0,
    reused: 0,
    sampleFailed: false,
  };
  const paths = open.paths.volume(known.id);
  const { chunkSize } = open.record;
  const notice = (message: string): void => context.report.notice(`${known.name}: ${message}`);
  using map = await idMapFor(open, index, paths, notice);
  using group = await openGroupIndex(open, known.group, notice, lost);
  using salvaged = await salvageLeftovers(open, known, options.leftovers, notice);
  await using volume = await openSource(context, source);
  const putBack = idsToPutBack(lost, group);
  const task = { ...taskFor(open, known, source, volume, map), putBack };
  const { candidates, sampleFailed } = candidatesFor(context, known, source, task, map);
  const choice = await chooseChunks(context, source, withLost(candidates, map, putBack, task), chunkSize);
  const name = freeName(namesOf(index, options.leftovers), options.startedAt).name;
  const generation = (open.head.generation + 1) as Generation;
  using spool = manifestSpool(paths.entries, { size: source.size, chunkSize });
  const list = listBuilder({ archive: open.record.uuid, volume: known.id, generation, session: uid });
  const total = Math.min(source.size, countSet(choice.read) * chunkSize);
  using there = knownChunks({
    open,
    known,
    index: group,
    most: countSet(choice.read),
    salvaged,
    warn: (message) => context.report.warn(`${known.name}: ${message}`),
  });
  const { directory, id: volumeId } = known;
  const { form } = options;
  using journal = createJournal(paths.journal(uid), {
    archive: open.record.uuid,
    volume: volumeId,
    session: uid,
    group: known.group,
    size: source.size,
    chunkSize,
  });
  const begin = async (): Promise<void> => {
    const body = {
      volume: volumeId,
      directory,
      session: uid,
      name,
      form,
      generation,
      chunkSize,
      size: source.size,
    };
    await open.client.ask("beginSession", body);
  };
  const { readBytes, begun, reused, tableDamaged } = await streamChunks({
    client: open.client,
    pool,
    task: { ...task, lookups: there.lookups },
    known: there,
    onStored: (stored) => journal.add(stored),
    choice,
    holes: holeEntries(choice.holes, map, chunkSize, last === undefined),
    full: last === undefined,
    spool,
    list,
    begin,
    onProgress: (bytes) => context.report.progress(known.name, bytes, total),
    signal: context.signal,
  });
  await volume.checkUnchanged();
  if (last !== undefined && skipUnchanged && spool.records === 0 && last.size === source.size) {
    for (const each of options.leftovers) await discardLeftover(open, each);
    using _lock = await takeLock(context.state.lock, "send", stateLockSeconds);
    settleUnchanged(paths, last);
    if (index !== undefined) noteCurrent(paths, index, source.takenAt);
    return { kind: "unchanged", ...nothing, readBytes, sampleFailed };
  }
  if (!begun) await begin();
  if (tableDamaged) there.forget();

  const changes = (): Iterable<ReturnType<typeof changeOf>> =>
    mapIterable(spool.entries(), (entry) => changeOf(entry, chunkSize));
  const { groups, mapRoot } = map.after(changes(), source.size, chunkSize);
  const sequence = (last?.sequence ?? 0) + 1;
  const fields = {
    sequence,
    takenAt: source.takenAt,
    size: source.size,
    mapRoot,
    consistency: consistencyOf(source),
    tags: options.tags,
  };
  const isUsed = ({ uid: of }: Container): boolean =>
    spool.containers.some(({ session }) => equalBytes(session, of));
  const finish = { open, known, index, uid, name, form, spool, list, fields };
  const used = salvaged.containers.filter(isUsed);
  // Of them the volume may need no chunk but one, and the journal may have lost its end: the rest is the next prune's.
  if (used.length > 0) noteUnfinished(open.paths, toHex(known.group), true);
  const done = await finishSession({ ...finish, salvaged: used });
  map.apply(changes(), groups, { session: uid, sequence, size: source.size, chunkSize, mapRoot });
  await there.remember({ volume: known.id, session: uid }, done.index);
  {
    using _lock = await takeLock(context.state.lock, "send", stateLockSeconds);
    reconcile(paths, done.index);
  }
  const sessions = [uid, ...options.leftovers.map((each) => each.session)];
  await settleLeftovers(open, known, done.index, sessions, (message) => context.report.warn(message));
  const kind =
    last === undefined ? "full" : source.map === undefined || sampleFailed ? "compared" : "incremental";
  const { chunks, storedBytes } = done;
  const sentBytes = open.client.sentBytes - sentBefore;
  const { size } = source;
  return { kind, session: name, size, readBytes, sentBytes, chunks, reused, storedBytes, sampleFailed };
}

function taskFor(
  open: OpenArchive,
  known: KnownVolume,
  source: Source,
  volume: OpenVolume,
  map: IdMap,
): Omit<VolumeTask, "lookups"> {
  return {
    volumeFd: volume.fd,
    idsFd: map.fd,
    knownChunks: map.chunks,
    size: source.size,
    chunkSize: open.record.chunkSize,
    ...open.seal.chunkKeys(known.group),
    level: open.record.level,
    requestId: open.client.nextId,
  };
}

function consistencyOf(source: Source): Consistency {
  if (source.snapshot === undefined) return "file";
  // Also where the clean volume was asked for: with revisions_to_keep=-1 the VM writes to that one.
  if (source.state.crash) return "crash";
  return source.state.behind === true ? "committed" : "clean";
}

function* mapIterable<From, To>(items: Iterable<From>, change: (item: From) => To): Generator<To> {
  for (const item of items) yield change(item);
}
