// A volume's directory, apart from the containers of the newest head: older indexes, copies of older headers, lists and
// manifests beside tars, sessions that no index names, and whatever else lies there.

import type { Head } from "../../protocol/archive/head.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import { parseArchiveFile, parseGeneration } from "../../protocol/archive/names.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { type Digest, digestBytes, type Generation, type VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, fromHex } from "../../protocol/bytes.ts";
import { type Directory, namesIn } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { openFile, readStretch } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { type SessionEntry, sessionEntry, stores } from "../store/stores.ts";
import { stateOfFile } from "../store/whole-file.ts";
import { isTemporary, type Say } from "./found.ts";
import { checkOldHeader } from "./header-file.ts";
import type { History } from "./history.ts";
import { type OldFile, parseOldFile, stateOfOld } from "./old-file.ts";

export interface VolumeOptions {
  readonly archive: Archive;
  readonly head: Head;
  readonly history: History;
  readonly directory: Directory;
  readonly name: string;
  readonly say: Say;
  readonly onBytes: (bytes: number) => void;
}

interface Seen extends VolumeOptions {
  /** Whose directory it is; more than one where a volume that was removed has left it to another. */
  readonly ids: readonly VolumeId[];
  /** Of the newest head; undefined where none has it. */
  readonly indexGeneration: Generation | undefined;
  /** undefined: its index can't be read. */
  readonly containers: readonly Container[] | undefined;
}

/** Checks it. */
export async function scrubVolume(options: VolumeOptions): Promise<void> {
  const { archive, directory, name, say } = options;
  const names = [...namesIn(directory)].toSorted();
  const found = archive.volumeIn(name);
  const entry = found?.directory === name ? found : undefined;
  const removed = archive.trash().removedIn(name);
  if (entry === undefined && removed.length === 0 && !archive.trash().unreadable) {
    // A volume whose first session was never committed has its copy of the header.
    say(name, "other", names.some((each) => parseArchiveFile(each) !== undefined) ? "leftover" : "extra");
    return;
  }
  const ids = [entry?.volume, ...removed.map((each) => fromHex(each) as VolumeId | undefined)];
  const seen: Seen = {
    ...options,
    ids: ids.filter((each) => each !== undefined),
    indexGeneration: entry?.indexGeneration,
    containers: entry === undefined ? [] : containersOf(archive, entry),
  };
  for (const each of names) await checkName(seen, each, entry === undefined);
}

function containersOf(
  archive: Archive,
  volume: Parameters<Archive["containers"]>[0],
): readonly Container[] | undefined {
  try {
    return archive.containers(volume);
  } catch (error) {
    if (error instanceof RefusalError) return undefined;
    throw error;
  }
}

async function checkName(seen: Seen, name: string, isRemoved: boolean): Promise<void> {
  const { say } = seen;
  const where = `${seen.name}/${name}`;
  const header = parseArchiveFile(name);
  if (header !== undefined) {
    // Those of the newest head are checked with its volumes.
    if (isRemoved || header !== seen.head.archiveGeneration) checkOldHeader(seen, name, where, header);
    return;
  }
  const index = name.startsWith("index.") ? parseGeneration(name.slice("index.".length)) : undefined;
  if (index !== undefined) return checkIndex(seen, name, where, index);
  const session = sessionEntry(name);
  if (session !== undefined) return checkSession(seen, where, session);
  const [, label = "", rest = ""] = /^(S_\d{8}-\d{6})[.]tar[.]((?:list|manifest)[.]\d+)$/.exec(name) ?? [];
  const beside = parseOldFile(rest);
  if (beside !== undefined) return checkBeside(seen, name, label, beside);
  say(where, "other", isTemporary(name) ? "leftover" : "extra");
}

async function checkIndex(
  { archive, head, history, directory, ids, indexGeneration, say, onBytes }: Seen,
  name: string,
  where: string,
  generation: Generation,
): Promise<void> {
  const trash = archive.trash();
  const [volume] = ids;
  const of = { number: generation, volume };
  if (generation === indexGeneration) return;
  if (generation > head.generation) return say(where, "index", "leftover", of);
  // Those that a head still names have been read for the history.
  if (ids.some((id) => history.isIndexNamed(id, generation))) return;
  const waits = indexGeneration === undefined || ids.some((id) => trash.isDeadIndex(id, generation));
  if (!waits) return say(where, "index", trash.unreadable ? "leftover" : "extra", of);
  if (!(await isWholeIndex(directory, name, ids, generation, onBytes))) say(where, "index", "stale", of);
}

async function isWholeIndex(
  directory: Directory,
  name: string,
  ids: readonly VolumeId[],
  generation: Generation,
  onBytes: (bytes: number) => void,
): Promise<boolean> {
  try {
    using file = openFile(directory, name);
    if (file === undefined) return true;
    const prefix = decodePrefix(readStretch(file, 0, prefixBytes));
    expectPrefix(prefix, { kind: "index", generation });
    const stated = readStretch(file, file.length - digestBytes, digestBytes) as Digest;
    const isOurs = ids.some((id) => equalBytes(id, prefix.volume));
    return isOurs && (await stateOfFile(file, stated, onBytes)) === "whole";
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

function checkSession(
  { history, directory, containers, name, say }: Seen,
  where: string,
  found: SessionEntry,
): void {
  const { form, finished, name: label } = found;
  if (!finished) return say(where, "session", "leftover");
  if (containers === undefined || containers.some((each) => each.name === label && each.form === form))
    return;
  // What waits to be removed, and what it has to be, the history knows.
  const isOld = ({ volume, container }: History["containers"][number]): boolean =>
    volume.directory === name && container.name === label && container.form === form;
  if (history.containers.some(isOld)) return;
  const identity = stores[form].identityOf(directory, label);
  const isElsewhere = containers.some((each) => identity && equalBytes(each.uid, identity.session));
  say(where, "session", identity === undefined || isElsewhere ? "extra" : "leftover");
}

/** A later list or manifest of a tar. */
async function checkBeside(seen: Seen, name: string, label: string, file: OldFile): Promise<void> {
  const { archive, head, history, containers, directory, ids, say, onBytes } = seen;
  const { kind, generation } = file;
  const where = `${seen.name}/${name}`;
  const trash = archive.trash();
  if (containers === undefined) return;
  const current = containers.find((each) => each.name === label && each.form === "tar");
  if (current?.[`${kind}Generation`] === generation) return;
  if (generation > head.generation) return say(where, kind, "leftover", { number: generation });
  const old = history.containers.find(
    ({ volume, container }) => volume.directory === seen.name && container.name === label,
  );
  const container = current ?? old?.container;
  const volume = current === undefined ? old?.volume.volume : ids[0];
  const of = { number: generation, volume, session: container?.uid };
  const waits =
    container !== undefined &&
    volume !== undefined &&
    (current === undefined || trash.isDeadFile(volume, container.uid, kind, generation));
  // Of a volume that was removed, and whose tar has gone before it.
  const isLeft = trash.unreadable || (container === undefined && seen.indexGeneration === undefined);
  if (!waits) return say(where, kind, isLeft ? "leftover" : "extra", of);
  const which = { volume, container, history: async () => history, onBytes };
  if ((await stateOfOld(which, directory, name, file)) === "damaged") say(where, kind, "stale", of);
}
