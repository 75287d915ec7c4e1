// The state of an archive as of its newest head, read and checked (design section 7): the header, the head, and the
// index of a volume. Reads only, takes no lock: what a head names is never changed in place.
//
// A volume's directory that was copied alone is a state of its own: its newest index and its own copy of `archive`.
// Nothing outside it says that these are the newest, so that is said.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type ArchiveHeader, decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { decodeHead, type Head, type HeadVolume, maxHeadBytes } from "../../protocol/archive/head.ts";
import {
  decodeIndex,
  decodeIndexContainers,
  type ExpectedIndex,
  maxIndexBytes,
  type PublicIndex,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import { archiveFile, fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import { AssembleError, type AssembleErrorCode, asSystemError, reading, systemCode } from "./errors.ts";
import { readWhole } from "./files.ts";
import type { OpenKeys } from "./open-keys.ts";
import { printable } from "./printable.ts";

export interface ArchiveState {
  /** The archive's directory, as it was given. */
  readonly path: string;
  readonly header: ArchiveHeader;
  /** Undefined for a volume's directory that was copied alone. */
  readonly head: Head | undefined;
}

export interface StateOptions {
  /** What opens a sealed archive. Where it is given, an archive that is not sealed is refused. */
  readonly keys?: OpenKeys | undefined;
  /** Where the newest head can't be read, take the newest one that can. */
  readonly allowOlderHead?: boolean;
  /** The head whose state is meant; otherwise the newest. */
  readonly head?: Generation | undefined;
  /** Told what the user should know and what stops nothing. */
  readonly warn?: (message: string) => void;
}

/** No `archive` file is larger: its body and 8 key slots are below 2 KiB. */
const maxArchiveFileBytes = 4096;

/** True where `path` holds an archive: a directory of heads with at least one head in it. */
export function holdsHeads(path: string): boolean {
  return headsAt(path).length > 0;
}

/** Numbers of all heads at `path`, highest first, those of which only a copy is left as well (archive-format.md, F38). */
function headsAt(path: string): Generation[] {
  const places = [join(path, fileNames.heads), join(path, fileNames.copies, fileNames.heads)];
  return [...new Set(places.flatMap(generations))].sort((a, b) => b - a);
}

/** The number of the newest head where that is not `state`'s any more: somebody has sent or pruned meanwhile. */
export function movedOn(state: ArchiveState): Generation | undefined {
  const [newest] = headsAt(state.path);
  return newest !== undefined && state.head !== undefined && newest > state.head.generation
    ? newest
    : undefined;
}

/**
 * Reads and checks the state of the archive at `path`, as far as `volumeDirectory` in it is concerned. Throws
 * AssembleError: `no-archive`, `newer-format`, `corrupt-archive`, `corrupt-head`, `io`.
 */
export function openArchiveState(
  path: string,
  volumeDirectory: string,
  options: StateOptions = {},
): ArchiveState {
  const folder = join(path, volumeDirectory);
  if (!holdsHeads(path)) {
    const { header } = readHeader(join(folder, newestHeader(folder)));
    options.warn?.(
      `no heads beside this volume: taking its newest index, which nothing confirms to be the archive's newest, ` +
        printable(folder),
    );
    return { path, header, head: undefined };
  }
  const head = newestHead(path, options);
  const name = archiveFile(head.archiveGeneration);
  const { header, digest } = headerOrCopy(join(path, name), join(folder, name), options);
  if (!equalBytes(head.archiveDigest, digest) || !equalBytes(head.archive, header.uuid)) {
    throw new AssembleError(
      "corrupt-archive",
      `archive header is not the one that head ${head.generation} names, ${printable(join(path, name))}`,
    );
  }
  return { path, header, head };
}

/** `archive`, or the highest `archive.N` in a volume's directory. */
function newestHeader(folder: string): string {
  const names = namesIn(folder, "volume's directory", "no-volume");
  const numbers = names.flatMap((name) => {
    const generation = name.startsWith("archive.")
      ? parseGeneration(name.slice("archive.".length))
      : undefined;
    return generation === undefined ? [] : [generation];
  });
  return archiveFile(numbers.reduce((most, each) => (each > most ? each : most), 0 as Generation));
}

/** AssembleError `sealed` where a key is wanted and none was given; `corrupt-archive` where one was given and the archive
 *  is not sealed: an archive that is known to be sealed is never taken unsealed. */
export function checkSealed(state: ArchiveState, hasKey: boolean): void {
  if (state.header.sealed && !hasKey)
    throw new AssembleError(
      "sealed",
      `archive is sealed (encrypted), and no key was given, ${printable(state.path)}`,
      "give --key with what `sparsebak key --export VOLUME` prints in dom0, or --passphrase-file in an offline qube",
    );
  if (!state.header.sealed && hasKey)
    throw new AssembleError(
      "corrupt-archive",
      `archive is not sealed, and a key was given for it: it is not the one that was sealed, ${printable(state.path)}`,
    );
}

function readHeader(path: string): { readonly header: ArchiveHeader; readonly digest: Digest } {
  return reading(
    "archive header",
    printable(path),
    { corrupt: "corrupt-archive", missing: "no-archive" },
    () => {
      const bytes = readWhole(path, maxArchiveFileBytes);
      return { header: decodeArchiveHeader(bytes), digest: fileDigest(bytes) };
    },
  );
}

/** The archive's header; where it is lost or damaged, the copy that every volume's directory holds. */
function headerOrCopy(path: string, copy: string, options: StateOptions): ReturnType<typeof readHeader> {
  try {
    return readHeader(path);
  } catch (error) {
    if (!(error instanceof AssembleError) || error.code === "newer-format") throw error;
    let found: ReturnType<typeof readHeader>;
    try {
      found = readHeader(copy);
    } catch {
      throw error; // the first one says more
    }
    options.warn?.(`${error.message}: using the volume's own copy of it, ${printable(copy)}`);
    return found;
  }
}

function newestHead(path: string, options: StateOptions): Head {
  let first: unknown = new AssembleError(
    "no-archive",
    `archive has no head ${options.head ?? "that can be read"}, ${printable(path)}`,
  );
  let isFirst = true;
  const wanted = (each: Generation): boolean => options.head === undefined || each === options.head;
  for (const generation of headsAt(path).filter(wanted)) {
    try {
      return orCopy(path, join(fileNames.heads, String(generation)), options, (file) =>
        reading(
          `head ${generation}`,
          printable(file),
          { corrupt: "corrupt-head", missing: "corrupt-head" },
          () => decodeHead(readWhole(file, maxHeadBytes), { generation }),
        ),
      );
    } catch (error) {
      if (!(error instanceof AssembleError)) throw error;
      if (isFirst) first = error;
      isFirst = false;
      if (error.code !== "corrupt-head") throw error;
      if (options.allowOlderHead !== true) throw withOlderHint(error);
      options.warn?.(`${error.message}: trying the head before it`);
    }
  }
  throw first;
}

function withOlderHint(error: AssembleError): AssembleError {
  return new AssembleError(
    error.code,
    error.message,
    "--allow-older-head takes the newest head that can be read; sessions sent since then are not in it",
    { cause: error },
  );
}

/** Numbers that are names in `directory`, highest first; none where it can't be read or is not there. */
function generations(directory: string): Generation[] {
  try {
    return readdirSync(directory)
      .map(parseGeneration)
      .filter((each) => each !== undefined)
      .sort((a, b) => b - a);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw asSystemError(error, "directory of heads", printable(directory), "no-archive");
  }
}

/** The names in a directory that has to be there. */
function namesIn(folder: string, what: string, missing: AssembleErrorCode): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    throw asSystemError(error, what, printable(folder), missing);
  }
}

/** Directories of the archive's volumes, sorted. */
export function volumeDirectories(state: ArchiveState): readonly string[] {
  return (state.head?.volumes ?? []).map((each) => each.directory).sort();
}

/**
 * The index of the volume in `directory` that counts in this state. Throws AssembleError: `no-volume`,
 * `missing-file`, `corrupt-index`, `newer-format`, `io`.
 */
export function readIndex(state: ArchiveState, directory: string, options: StateOptions = {}): VolumeIndex {
  if (state.head === undefined) return newestIndex(state, directory, options);
  const named = state.head.volumes.find((each) => each.directory === directory);
  const { opener } = options.keys ?? {};
  if (named !== undefined)
    return namedIndex(state, named, options, (bytes, expected) => decodeIndex(bytes, expected, opener));
  throw new AssembleError(
    "no-volume",
    `no volume of that name in head ${state.head.generation} of the archive: ${printable(directory)}, ${printable(state.path)}`,
    volumesHint(volumeDirectories(state)),
  );
}

/** The containers of a volume that a head names: what shows without its key. */
export function readContainers(state: ArchiveState, named: HeadVolume): PublicIndex {
  return namedIndex(state, named, {}, decodeIndexContainers);
}

/** Reads the index that a head names, its digest checked. */
function namedIndex<T>(
  state: ArchiveState,
  named: HeadVolume,
  options: StateOptions,
  decode: (bytes: Uint8Array, expected: ExpectedIndex) => T,
): T {
  const file = join(named.directory, indexFile(named.indexGeneration));
  return orCopy(state.path, file, options, (path) =>
    reading("index", printable(path), { corrupt: "corrupt-index" }, () => {
      const bytes = readWhole(path, maxIndexBytes);
      if (!equalBytes(fileDigest(bytes), named.indexDigest)) {
        throw new FormatError("bad-digest", "its digest is not the one that the head names");
      }
      const { volume, indexGeneration: generation } = named;
      return decode(bytes, { archive: state.header.uuid, volume, generation });
    }),
  );
}

/** What `read` makes of a file of the archive at `path`; where that is lost or damaged, of its second copy. */
function orCopy<T>(path: string, file: string, { warn }: StateOptions, read: (path: string) => T): T {
  try {
    return read(join(path, file));
  } catch (error) {
    if (!(error instanceof AssembleError)) throw error;
    const copy = join(path, fileNames.copies, file);
    let found: T;
    try {
      found = read(copy);
    } catch {
      throw error; // the first one says more
    }
    warn?.(`${error.message}: using its second copy, ${printable(copy)}`);
    return found;
  }
}

/** The highest index of a directory that decodes. */
function newestIndex(state: ArchiveState, directory: string, options: StateOptions): VolumeIndex {
  const folder = join(state.path, directory);
  const names = namesIn(folder, "volume's directory", "no-volume");
  const found = names
    .map((name) => (name.startsWith("index.") ? parseGeneration(name.slice("index.".length)) : undefined))
    .filter((each) => each !== undefined)
    .sort((a, b) => b - a);
  let first: unknown = new AssembleError("no-volume", `no volume here: no index, ${printable(folder)}`);
  for (const [i, generation] of found.entries()) {
    const path = join(folder, indexFile(generation));
    try {
      return reading("index", printable(path), { corrupt: "corrupt-index" }, () =>
        decodeIndex(
          readWhole(path, maxIndexBytes),
          { archive: state.header.uuid, generation },
          options.keys?.opener,
        ),
      );
    } catch (error) {
      if (!(error instanceof AssembleError)) throw error;
      if (i === 0) first = error;
      options.warn?.(error.message);
    }
  }
  throw first;
}

/** What to say to somebody who named no volume. */
export function volumesHint(directories: readonly string[]): string {
  if (directories.length === 0) return "the archive holds no volumes";
  const shown = directories.slice(0, 20).map(printable).join(", ");
  const more = directories.length > 20 ? ` and ${directories.length - 20} more` : "";
  return `volumes in the archive: ${shown}${more}`;
}
