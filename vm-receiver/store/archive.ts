// The archive as it lies below its directory: which head is current, and what is where according to it. Heads and
// indexes are checked by their digests; whether dom0 made them only dom0 can tell.

import { type ArchiveHeader, decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { decodeHead, type Head, type HeadVolume, maxHeadBytes } from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { archiveFile, fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { ArchiveUuid, Digest, Generation, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type Directory, namesIn, openIfThere } from "../directory.ts";
import { isDamage, RefusalError } from "../errors.ts";
import { readWhole } from "../files.ts";
import { containersOf } from "./containers.ts";
import { copiedHeads, orCopy } from "./copies.ts";
import { readTrash, type Trash } from "./dead-lists.ts";

/** Bytes of the largest `archive` file. */
export const maxArchiveHeaderBytes = 4096;

/** Indexes that are kept once they have been read: chunks of one restore may lie in several volumes. */
const maxKnownIndexes = 8;

/** A head and the digest that its file ends with. */
export interface CurrentHead {
  readonly head: Head;
  readonly digest: Digest;
}

export interface Archive extends Disposable {
  readonly root: Directory;
  /** The newest head; undefined where nothing has been committed yet. */
  readonly current: CurrentHead | undefined;
  /** 0 before the first commit. */
  readonly generation: Generation;
  /** Takes a head that has just been committed for the current one. */
  advance(to: CurrentHead): void;
  /** What dead lists keep until they are due. Read once, until `forgetTrash`. */
  trash(): Trash;
  forgetTrash(): void;
  /** `archive`, or `archive.N` as the head says, its bytes and what they say; undefined where it is not there. RefusalError `corrupt`. */
  header(): { readonly bytes: Uint8Array; readonly header: ArchiveHeader } | undefined;
  /** Where the current head has a volume. */
  volume(id: VolumeId): HeadVolume | undefined;
  /** The same by directory, whatever the case of its letters. */
  volumeIn(directory: string): HeadVolume | undefined;
  /** The sessions that a volume's index, as of the current head, names. RefusalError `corrupt`. */
  containers(volume: HeadVolume): readonly Container[];
}

/** Opens the archive in `root`, which it then owns, as of its newest head, or of head `wanted`, which is no current one
 *  then if it is not there. RefusalError `corrupt` when the head can't be read. */
export function openArchive(root: Directory, wanted?: Generation): Archive {
  let current = wanted === undefined ? newestHead(root) : readHead(root, wanted);
  let byId = volumesOf(current);
  let byDirectory = directoriesOf(current);
  let trash: Trash | undefined;
  const known = new Map<HeadVolume, readonly Container[]>();
  return {
    root,
    get current() {
      return current;
    },
    get generation() {
      return current?.head.generation ?? (0 as Generation);
    },
    advance: (to) => {
      current = to;
      byId = volumesOf(to);
      byDirectory = directoriesOf(to);
      known.clear();
      trash = undefined;
    },
    header: () => readArchiveHeader(root, current?.head),
    trash: () => {
      trash ??= readTrash(
        root,
        current?.head.archive ?? (new Uint8Array(16) as ArchiveUuid),
        current?.head.generation ?? (0 as Generation),
      );
      return trash;
    },
    forgetTrash: () => {
      trash = undefined;
    },
    volume: (id) => byId.get(toHex(id)),
    volumeIn: (directory) => byDirectory.get(directory.toLowerCase()),
    containers: (volume) => {
      const before = known.get(volume);
      if (before !== undefined) return before;
      const [oldest] = known.keys();
      if (known.size >= maxKnownIndexes && oldest !== undefined) known.delete(oldest);
      const read = readContainers(root, volume, current?.head.archive);
      known.set(volume, read);
      return read;
    },
    [Symbol.dispose]: () => root[Symbol.dispose](),
  };
}

function volumesOf(current: CurrentHead | undefined): ReadonlyMap<string, HeadVolume> {
  return new Map((current?.head.volumes ?? []).map((each) => [toHex(each.volume), each]));
}

function directoriesOf(current: CurrentHead | undefined): ReadonlyMap<string, HeadVolume> {
  return new Map((current?.head.volumes ?? []).map((each) => [each.directory.toLowerCase(), each]));
}

function newestHead(root: Directory): CurrentHead | undefined {
  const copied = copiedHeads(root);
  const newest = highest([...ownHeads(root, copied.length > 0), ...copied]);
  if (newest === 0) {
    if (readWhole(root, fileNames.readme, maxReadmeBytes) === undefined) return undefined;
    throw new RefusalError(
      "corrupt",
      "there was an archive here, as README.txt says, but its heads are gone",
    );
  }
  let found: CurrentHead | undefined;
  try {
    found = readHead(root, newest as Generation);
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    const way = `moved out of heads/ and copies/heads/, the state before it counts, which dom0 takes with --accept-rollback`;
    throw new RefusalError("corrupt", `${error.message}, and there is no second copy: ${way}`, {
      cause: error,
    });
  }
  if (found === undefined)
    throw new RefusalError("corrupt", "the newest head has gone while it was being read");
  return found;
}

/** There may be a million, which are too many for arguments of a call. */
function highest(generations: readonly number[]): number {
  return generations.reduce((most, each) => Math.max(most, each), 0);
}

/** Generations in heads/; where there are copies, none if it is damaged: the newest head is among them. */
function ownHeads(root: Directory, isCopied: boolean): readonly number[] {
  try {
    using heads = openIfThere(root, fileNames.heads);
    return heads === undefined ? [] : [...namesIn(heads)].map((name) => parseGeneration(name) ?? 0);
  } catch (error) {
    if (isCopied && isDamage(error)) return [];
    throw error;
  }
}

function readHead(root: Directory, generation: Generation): CurrentHead | undefined {
  return corruptUnless(`head ${generation}`, () =>
    orCopy(root, fileNames.heads, (heads) => {
      const bytes = readWhole(heads, String(generation), maxHeadBytes);
      return bytes && { head: decodeHead(bytes, { generation }), digest: fileDigest(bytes) };
    }),
  );
}

const maxReadmeBytes = 1024 * 1024;

function readArchiveHeader(
  root: Directory,
  head: Head | undefined,
): { readonly bytes: Uint8Array; readonly header: ArchiveHeader } | undefined {
  return corruptUnless("the archive header", () => {
    const name = archiveFile(head?.archiveGeneration ?? (0 as Generation));
    const bytes = readWhole(root, name, maxArchiveHeaderBytes);
    if (bytes === undefined) return undefined;
    const header = decodeArchiveHeader(bytes);
    if (head !== undefined && !equalBytes(header.uuid, head.archive)) {
      throw new FormatError("bad-value", "it belongs to another archive than the newest head");
    }
    return { bytes, header };
  });
}

function readContainers(
  root: Directory,
  volume: HeadVolume,
  archive: ArchiveUuid | undefined,
): readonly Container[] {
  const name = indexFile(volume.indexGeneration);
  return corruptUnless("the index of a volume", () => {
    const read = orCopy(root, volume.directory, (directory) => {
      const bytes = readWhole(directory, name, maxIndexBytes);
      if (bytes === undefined) return undefined;
      if (!equalBytes(fileDigest(bytes), volume.indexDigest)) {
        throw new FormatError("bad-digest", `${name} is not the one that the head names`);
      }
      return containersOf(bytes, {
        volume: volume.volume,
        generation: volume.indexGeneration,
        ...(archive === undefined ? {} : { archive }),
      });
    });
    if (read === undefined) throw new FormatError("truncated", `${name} is not there`);
    return read;
  });
}

/** Containers of a volume as the current head names them; undefined where its index, and the copy of it, are damaged: that
 *  is no reason to refuse what is about every other volume. */
export function knownContainers(archive: Archive, volume: HeadVolume): readonly Container[] | undefined {
  try {
    return archive.containers(volume);
  } catch (error) {
    if (error instanceof RefusalError || isDamage(error)) return undefined;
    throw error;
  }
}

/** Runs a reader; what it refuses is damage: RefusalError `corrupt`, which names the kind of file. */
export function corruptUnless<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new RefusalError("corrupt", `${what} is damaged: ${error.message}`, { cause: error });
  }
}

/** The container of a session among others. */
export function containerOfUid(containers: readonly Container[], uid: SessionUid): Container | undefined {
  return containers.find((each) => equalBytes(each.uid, uid));
}

export interface FoundContainer extends Disposable {
  readonly volume: HeadVolume;
  readonly container: Container;
  /** The volume's. */
  readonly directory: Directory;
}

/** A container by its ids, as of the current head; undefined where there is none. RefusalError `corrupt`. */
export function findContainer(
  archive: Archive,
  of: { readonly volume: VolumeId; readonly session: SessionUid },
): FoundContainer | undefined {
  const volume = archive.volume(of.volume);
  const container = volume && containerOfUid(archive.containers(volume), of.session);
  if (volume === undefined || container === undefined) return undefined;
  const directory = openIfThere(archive.root, volume.directory);
  if (directory === undefined) return undefined;
  return { volume, container, directory, [Symbol.dispose]: () => directory[Symbol.dispose]() };
}
