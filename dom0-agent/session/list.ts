// list: what an archive holds, by its verified head and indexes.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { AgentError } from "../errors.ts";
import { allSessions, findSession, type FoundSession } from "../restore/find-session.ts";
import { where } from "../archive/archive.ts";
import { chooseInArchive, readView, type Selection } from "../archive/archive-view.ts";
import type { Context } from "../context.ts";
import { openDestination } from "../archive/destination.ts";

export interface ListedSession {
  readonly name: string;
  readonly uid: string;
  readonly sequence: number;
  /** Milliseconds since 1970, when the data was taken. */
  readonly time: number;
  /** Bytes of the volume. */
  readonly size: number;
  /** What the session added: chunks, and bytes of their stored forms. */
  readonly chunks: number;
  readonly storedBytes: number;
  readonly form: "dir" | "tar";
  readonly consistency: string;
  readonly protected: boolean;
  readonly tags: readonly string[];
  readonly mapRoot: string;
}

export interface ListedVolume {
  readonly volume: string;
  readonly id: string;
  readonly directory: string;
  /** Containers that are there for their chunks only: what pruning, or an interrupted send, has left. */
  readonly hidden: number;
  /** Bytes of all its stored chunks, the hidden ones' included. */
  readonly storedBytes: number;
  /** Oldest first. */
  readonly sessions: readonly ListedSession[];
}

/**
 * The volumes of an archive with their sessions; `named`, names or patterns, restricts them, and `session`, a label, uid or tag, to one
 * session of each; of volumes that are not named, those count that have it. Throws AgentError for what isn't there.
 */
export async function list(
  context: Context,
  settings: ArchiveSettings,
  named: readonly string[],
  session?: string,
): Promise<readonly ListedVolume[]> {
  const open = await openDestination(context, settings, "sparsebak.Receive", async () => false);
  if (open === undefined)
    throw new AgentError("failed", `list: there is no archive at ${where(settings)}`, "send makes one");
  await using _client = open.client;
  const selection: Selection = named.length === 0 ? { kind: "all" } : { kind: "named", patterns: named };
  const chosen = chooseInArchive(await readView(open), selection, "list");
  await open.client.close();
  const found = chosen.map(({ index, directory }) => ({
    volume: index.name,
    id: toHex(index.volume),
    directory,
    hidden: index.containers.length - index.sessions.length,
    storedBytes: storedBytesOf(index),
    sessions: sessionsOf(index, session, named.length === 0).map(listed),
  }));
  if (session === undefined) return found;
  const having = found.filter((each) => each.sessions.length > 0);
  if (having.length > 0) return having;
  throw new AgentError("failed", `list: there is no session ${session}`, "see sparsebak list VOLUME");
}

function sessionsOf(
  index: VolumeIndex,
  wanted: string | undefined,
  mayLack: boolean,
): readonly FoundSession[] {
  if (wanted === undefined) return allSessions(index);
  try {
    return [findSession(index, wanted)];
  } catch (error) {
    if (mayLack && error instanceof AgentError) return [];
    throw error;
  }
}

function storedBytesOf(index: VolumeIndex): number {
  return index.containers.reduce((sum, each) => sum + each.storedBytes, 0);
}

function listed({ record, container }: FoundSession): ListedSession {
  return {
    name: container.name,
    uid: toHex(record.uid),
    sequence: record.sequence,
    time: record.takenAt,
    size: record.size,
    chunks: container.chunks,
    storedBytes: container.storedBytes,
    form: container.form,
    consistency: record.consistency,
    protected: record.protected,
    tags: record.tags,
    mapRoot: toHex(record.mapRoot),
  };
}
