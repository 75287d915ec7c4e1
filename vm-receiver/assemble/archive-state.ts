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
import { decodeIndex, maxIndexBytes, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile, parseGeneration } from "../../protocol/archive/names.ts";
import { fileDigest } from "../../protocol/archive/prefix.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import { AssembleError, asSystemError, reading, systemCode } from "./errors.ts";
import { readWhole } from "./files.ts";
import { printable } from "./printable.ts";

export interface ArchiveState {
  /** The archive's directory, as it was given. */
  readonly path: string;
  readonly header: ArchiveHeader;
  /** Undefined for a volume's directory that was copied alone. */
  readonly head: Head | undefined;
}

export interface StateOptions {
  /** Where the newest head can't be read, take the newest one that can. */
  readonly allowOlderHead?: boolean;
  /** Told what the user should know and what stops nothing. */
  readonly warn?: (message: string) => void;
}

/** No `archive` file is larger: its body and 8 key slots are below 2 KiB. */
const maxArchiveFileBytes = 4096;

/** True where `path` holds an archive: a directory of heads with at least one head in it. */
export function holdsHeads(path: string): boolean {
  return generations(join(path, fileNames.heads)).length > 0;
}

/** The number of the newest head where that is not `state`'s any more: somebody has sent or pruned meanwhile. */
export function movedOn(state: ArchiveState): Generation | undefined {
  const [newest] = generations(join(state.path, fileNames.heads));
  return newest !== undefined && state.head !== undefined && newest > state.head.generation
    ? newest
    : undefined;
}

/**
 * Reads and checks the state of the archive at `path`, as far as `volumeDirectory` in it is concerned. Throws
 * AssembleError: `no-archive`, `sealed`, `newer-format`, `corrupt-archive`, `corrupt-head`, `io`.
 */
export function openArchiveState(
  path: string,
  volumeDirectory: string,
  options: StateOptions = {},
): ArchiveState {
  const ownCopy = join(path, volumeDirectory, fileNames.archive);
  if (!holdsHeads(path)) {
    const { header } = readHeader(ownCopy);
    refuseSealed(header, path);
    options.warn?.(
      `no heads beside this volume: taking its newest index, which nothing confirms to be the archive's newest, ` +
        printable(join(path, volumeDirectory)),
    );
    return { path, header, head: undefined };
  }
  const { header, digest } = headerOrCopy(join(path, fileNames.archive), ownCopy, options);
  refuseSealed(header, path);
  const head = newestHead(path, header, options);
  if (!equalBytes(head.archiveDigest, digest)) {
    const file = printable(join(path, fileNames.archive));
    throw new AssembleError(
      "corrupt-archive",
      `archive header is not the one that head ${head.generation} names, ${file}`,
    );
  }
  return { path, header, head };
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

function refuseSealed(header: ArchiveHeader, path: string): void {
  if (!header.sealed) return;
  throw new AssembleError(
    "sealed",
    `archive is sealed (encrypted), and this version of spbk-assemble can't open sealed archives, ${printable(path)}`,
    "restore it with `sparsebak receive` in dom0",
  );
}

function newestHead(path: string, header: ArchiveHeader, options: StateOptions): Head {
  const directory = join(path, fileNames.heads);
  let first: unknown;
  for (const generation of generations(directory)) {
    const file = join(directory, String(generation));
    try {
      const what = `head ${generation}`;
      return reading(what, printable(file), { corrupt: "corrupt-head", missing: "corrupt-head" }, () =>
        decodeHead(readWhole(file, maxHeadBytes), { archive: header.uuid, generation }),
      );
    } catch (error) {
      if (!(error instanceof AssembleError)) throw error;
      first ??= error;
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
  if (named !== undefined) return readNamedIndex(state, named);
  throw new AssembleError(
    "no-volume",
    `no volume of that name in head ${state.head.generation} of the archive: ${printable(directory)}, ${printable(state.path)}`,
    volumesHint(volumeDirectories(state)),
  );
}

/** The index that a head names, its digest checked. */
export function readNamedIndex(state: ArchiveState, named: HeadVolume): VolumeIndex {
  const path = join(state.path, named.directory, indexFile(named.indexGeneration));
  return reading("index", printable(path), { corrupt: "corrupt-index" }, () => {
    const bytes = readWhole(path, maxIndexBytes);
    if (!equalBytes(fileDigest(bytes), named.indexDigest)) {
      throw new FormatError("bad-digest", "its digest is not the one that the head names");
    }
    const expected = { archive: state.header.uuid, volume: named.volume, generation: named.indexGeneration };
    return decodeIndex(bytes, expected);
  });
}

/** The highest index of a directory that decodes. */
function newestIndex(state: ArchiveState, directory: string, options: StateOptions): VolumeIndex {
  const folder = join(state.path, directory);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw asSystemError(error, "volume's directory", printable(folder), "no-volume");
  }
  const found = names
    .map((name) => (name.startsWith("index.") ? parseGeneration(name.slice("index.".length)) : undefined))
    .filter((each) => each !== undefined)
    .sort((a, b) => b - a);
  let first: unknown = new AssembleError("no-volume", `no volume here: no index, ${printable(folder)}`);
  for (const [i, generation] of found.entries()) {
    const path = join(folder, indexFile(generation));
    try {
      return reading("index", printable(path), { corrupt: "corrupt-index" }, () =>
        decodeIndex(readWhole(path, maxIndexBytes), { archive: state.header.uuid, generation }),
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
