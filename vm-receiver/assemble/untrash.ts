// --untrash: which states of before a prune or a delete are still whole, and what they would bring back. Nothing is
// changed: what an older head names can be built with --head N (archive-format.md, F35).

import { hash } from "node:crypto";
import type { ArchiveHeader } from "../../protocol/archive/archive-header.ts";
import type { HeadVolume } from "../../protocol/archive/head.ts";
import { type Container, decodeIndex, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { listHeadBytes, listRecordBytes, listTailBytes } from "../../protocol/archive/list-file.ts";
import { fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import type { BodyOpener } from "../../protocol/archive/sealed-body.ts";
import { type Generation, maxStoredLength } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { namesIn, openIfDirectory } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { readWhole } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { listRecords } from "../store/list-records.ts";
import { pace } from "../store/pace.ts";
import { stores } from "../store/stores.ts";
import { stateOfFile } from "../store/whole-file.ts";
import { anyHeader, headOf, openChecked, orRefused, stopped } from "./checked-archive.ts";
import { AssembleError } from "./errors.ts";
import type { OpenKeys } from "./open-keys.ts";
import { sharedChunksOf } from "./shared-chunks.ts";

/** A session that the newest state does not have. */
export interface Lost {
  /** The volume's directory below the archive, and the session's name. */
  readonly directory: string;
  readonly session: string;
  /** The volume's name, as far as it can be read: in a sealed archive, where a key opens it. */
  readonly volume?: string;
}

export interface OlderState {
  readonly generation: Generation;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Sessions that it has and the newest state doesn't, and that are still whole. */
  readonly whole: readonly Lost[];
  /** Those of which all is there that their own volume has stored. What they share with other volumes, nobody can tell
   *  without a key. */
  readonly ownFiles: readonly Lost[];
  readonly broken: readonly Lost[];
}

/**
 * Looks at every older head, newest first, until one brings nothing that a newer one didn't. Every byte of what would come
 * back is read and checked, as far as it can be known what that is; `keysOf` gives, from the archive's header, what a
 * sealed one is opened with, if anything. Throws AssembleError `no-archive`, `corrupt-head`, `corrupt-archive`,
 * `wrong-key`, `stopped`.
 */
export async function olderStates(
  path: string,
  signal: AbortSignal,
  keysOf: (header: ArchiveHeader) => OpenKeys | undefined = () => undefined,
): Promise<readonly OlderState[]> {
  return orRefused(path, async () => statesOf(path, signal, keysOf));
}

async function statesOf(
  path: string,
  signal: AbortSignal,
  keysOf: (header: ArchiveHeader) => OpenKeys | undefined,
): Promise<readonly OlderState[]> {
  using now = openChecked(path);
  const header = anyHeader(now, headOf(now));
  const keys = header && keysOf(header);
  if (header !== undefined) keys?.check(header, headOf(now));
  const has = new Set<string>();
  for (const volume of headOf(now).volumes) for (const key of sessionsOf(now, volume)) has.add(key);
  const states: OlderState[] = [];
  for (const generation of olderGenerations(now)) {
    const state = await olderState(path, generation, has, signal, keys?.opener);
    if (state === undefined) continue;
    if (state.whole.length + state.ownFiles.length + state.broken.length > 0) states.push(state);
  }
  return states;
}

function olderGenerations(archive: Archive): readonly Generation[] {
  using heads = openIfDirectory(archive.root, fileNames.heads);
  return [...(heads === undefined ? [] : namesIn(heads))]
    .flatMap((name) => parseGeneration(name) ?? [])
    .filter((each) => each < archive.generation)
    .sort((a, b) => b - a);
}

const keyOf = (volume: HeadVolume, container: Container): string =>
  `${toHex(volume.volume)} ${toHex(container.uid)}`;

function sessionsOf(archive: Archive, volume: HeadVolume): readonly string[] {
  return containersIn(archive, volume)
    .filter((each) => each.manifestGeneration !== 0)
    .map((each) => keyOf(volume, each));
}

/** Containers of a volume; none where its index can't be read. */
function containersIn(archive: Archive, volume: HeadVolume): readonly Container[] {
  try {
    return archive.containers(volume);
  } catch (error) {
    if (error instanceof RefusalError) return [];
    throw error;
  }
}

/** What one older head would bring back; what it does is added to `has`. undefined where it can't be read. */
async function olderState(
  path: string,
  generation: Generation,
  has: Set<string>,
  signal: AbortSignal,
  opener: BodyOpener | undefined,
): Promise<OlderState | undefined> {
  let archive: Archive;
  try {
    archive = openChecked(path, generation);
  } catch (error) {
    if (error instanceof AssembleError && error.code === "corrupt-head") return undefined;
    throw error;
  }
  using opened = archive;
  const head = headOf(opened);
  const header = anyHeader(opened, head);
  if (header === undefined) return undefined;
  const found: Record<Condition, Lost[]> = { whole: [], ownFiles: [], broken: [] };
  for (const volume of head.volumes) {
    const containers = containersIn(opened, volume);
    const lost = containers.filter((each) => each.manifestGeneration !== 0 && !has.has(keyOf(volume, each)));
    if (lost.length === 0) continue;
    const condition = await conditionOf(opened, volume, containers, { header, opener, signal });
    const name = nameOf(opened, volume, opener);
    for (const each of lost) {
      const of = { directory: volume.directory, session: each.name };
      found[condition].push(name === undefined ? of : { ...of, volume: name });
      if (condition !== "broken") has.add(keyOf(volume, each));
    }
  }
  return { generation, createdAt: head.createdAt, ...found };
}

type Condition = "whole" | "ownFiles" | "broken";

/** A session needs what the older ones of its volume have stored, and what it shares with other volumes: all of the volume
 *  has to be there, and all that its manifests name elsewhere. */
async function conditionOf(
  archive: Archive,
  volume: HeadVolume,
  containers: readonly Container[],
  {
    header,
    opener,
    signal,
  }: {
    readonly header: ArchiveHeader;
    readonly opener: BodyOpener | undefined;
    readonly signal: AbortSignal;
  },
): Promise<Condition> {
  let condition: Condition = "whole";
  const onBytes = (): void => {
    if (signal.aborted) throw stopped();
  };
  for (const each of containers) {
    if (!(await isWhole(archive, volume, each, header.chunkSize, onBytes))) return "broken";
    if (each.manifestGeneration === 0) continue;
    const shared = await sharedChunksOf(archive, volume, each, header, opener, onBytes);
    if (shared === "broken") return "broken";
    if (shared === "unknown") condition = "ownFiles";
  }
  return condition;
}

/** A volume's name; undefined where its index can't be read, or not with that key. */
function nameOf(archive: Archive, of: HeadVolume, opener: BodyOpener | undefined): string | undefined {
  const { volume, indexGeneration: generation } = of;
  try {
    using directory = openIfDirectory(archive.root, of.directory);
    const raw = directory && readWhole(directory, indexFile(generation), maxIndexBytes);
    return raw && decodeIndex(raw, { archive: headOf(archive).archive, volume, generation }, opener).name;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** True where every file and every chunk of a container is there as this state names it. `onBytes` is called on the way, and
 *  may throw. */
async function isWhole(
  archive: Archive,
  volume: HeadVolume,
  container: Container,
  chunkSize: number,
  onBytes: () => void,
): Promise<boolean> {
  using directory = openIfDirectory(archive.root, volume.directory);
  if (directory === undefined) return false;
  const store = stores[container.form];
  const { name, manifestGeneration, listGeneration } = container;
  try {
    if (manifestGeneration !== 0) {
      using header = store.open(directory, name, { kind: "header" });
      using manifest = store.open(directory, name, { kind: "manifest", generation: manifestGeneration });
      if (header === undefined || (await stateOfFile(header, container.headerDigest, onBytes)) !== "whole")
        return false;
      if (
        manifest === undefined ||
        (await stateOfFile(manifest, container.manifestDigest, onBytes)) !== "whole"
      )
        return false;
    }
    using list = store.open(directory, name, { kind: "list", generation: listGeneration });
    if (list === undefined || (await stateOfFile(list, container.listDigest, onBytes)) !== "whole")
      return false;
    using chunks = store.chunks(directory, name);
    const into = new Uint8Array(maxStoredLength(chunkSize));
    const count = Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes);
    const turn = pace();
    for (const { address, storedLength, checksum } of listRecords(list, count)) {
      await turn();
      onBytes();
      if (chunks?.read(address, into) !== storedLength) return false;
      if (!equalBytes(hash("sha256", into.subarray(0, storedLength), "buffer"), checksum)) return false;
    }
    return true;
  } catch (error) {
    if (isDamage(error) || error instanceof RefusalError) return false;
    throw error;
  }
}
