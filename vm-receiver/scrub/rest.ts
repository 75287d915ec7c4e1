// Everything in an archive that is in no container of the newest head: its own files and their copies, what older states
// still need, what waits to be removed, what commands that were cut short have left, and what nothing names.

import type { Head } from "../../protocol/archive/head.ts";
import {
  archiveFile,
  fileNames,
  isDirectoryName,
  parseArchiveFile,
  parseGeneration,
} from "../../protocol/archive/names.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { FormatError } from "../../protocol/errors.ts";
import { type DamageKind, isDamage } from "../../protocol/wire/messages.ts";
import { type Directory, namesIn, openDirectory, openIfDirectory } from "../directory.ts";
import { RefusalError, unless } from "../errors.ts";
import { statOf } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { readDead } from "../store/dead-lists.ts";
import { scrubContainer } from "./container.ts";
import { checkCopied } from "./copied-files.ts";
import { containerName, isTemporary, type OnFound, type Say, sayTo } from "./found.ts";
import { checkOldHeader, stateOfHeader } from "./header-file.ts";
import { type History, historyOf, type OldContainer } from "./history.ts";
import { stateOfLock, stateOfReadme, stateOfTrashRecord } from "./plain-files.ts";
import { scrubVolume } from "./volume.ts";

export interface RestOptions {
  readonly archive: Archive;
  readonly head: Head;
  readonly chunkSize: number;
  readonly onFound: OnFound;
  /** Hears of a second copy of a file that is not there, by its path below the archive. */
  readonly onUncopied?: (path: string) => void;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Checks it. Throws what the system throws where that is no damage of a file. */
export async function scrubRest(options: RestOptions): Promise<void> {
  const { archive, head, onFound, onBytes, signal } = options;
  const say = sayTo(onFound);
  // Before anything else is looked at: what is removed meanwhile is then known to be dead.
  archive.trash();
  const history = await historyOf(archive, onBytes);
  for (const each of history.found) onFound(each);
  checkOwnHeaders(archive, head, say);
  if (archive.current !== undefined)
    checkCopied(archive.root, archive.current, say, onBytes, options.onUncopied);
  checkTop(options, history, say);
  checkNumbered(archive.root, fileNames.heads, head, say, () => "right");
  checkNumbered(archive.root, fileNames.dead, head, say, (generation) =>
    stateOfDead(archive.root, head, generation),
  );
  for (const name of [...namesIn(archive.root)].filter((each) => isDirectoryName(each)).toSorted()) {
    if (statOf(archive.root, name)?.isDirectory() !== true) continue;
    using directory = unless(["EACCES", "EPERM", "ENOENT"], () => openDirectory(archive.root, name));
    if (directory === undefined) say(name, "other", "extra");
    else await scrubVolume({ archive, head, history, directory, name, say, onBytes });
    if (signal.aborted) return;
  }
  for (const each of history.containers) {
    await scrubOld(options, history, each);
    if (signal.aborted) return;
  }
}

/** `archive`, or `archive.N`, that counts, and its copies. */
function checkOwnHeaders(archive: Archive, head: Head, say: Say): void {
  const name = archiveFile(head.archiveGeneration);
  const own = stateOfHeader(archive.root, name, head.archive, head.archiveDigest);
  if (own !== "whole") say(name, "archive", own, { number: head.archiveGeneration });
  for (const { directory, volume } of head.volumes) {
    using opened = openIfDirectory(archive.root, directory);
    const copy =
      opened === undefined ? "missing" : stateOfHeader(opened, name, head.archive, head.archiveDigest);
    // Any of them can stand in for the archive's own.
    if (copy !== "whole")
      say(`${directory}/${name}`, "archive", copy, { number: head.archiveGeneration, volume });
  }
}

function checkTop({ archive, head }: RestOptions, history: History, say: Say): void {
  const { root } = archive;
  const readme = stateOfReadme(root);
  if (readme !== "whole") say(fileNames.readme, "readme", readme);
  if (stateOfLock(root) === "corrupt") say(fileNames.lock, "lock", "corrupt");
  if (stateOfTrashRecord(root) === "corrupt") say(fileNames.trash, "trash", "corrupt");
  const ours: ReadonlySet<string> = new Set([
    fileNames.heads,
    fileNames.dead,
    fileNames.readme,
    fileNames.lock,
    fileNames.trash,
    fileNames.copies,
    fileNames.assembled,
  ]);
  for (const name of [...namesIn(root)].toSorted()) {
    if (ours.has(name)) continue;
    const generation = parseArchiveFile(name);
    if (generation !== undefined) {
      if (generation !== head.archiveGeneration)
        checkOldHeader({ archive, head, history, directory: root, say }, name, name, generation);
    } else if (isTemporary(name)) say(name, "other", "leftover");
    else if (!isDirectoryName(name) || statOf(root, name)?.isDirectory() === false)
      say(name, "other", "extra");
  }
}

/** heads/ and dead/: what is not a number of the past is left over, or extra. */
function checkNumbered(
  root: Directory,
  which: typeof fileNames.heads | typeof fileNames.dead,
  head: Head,
  say: Say,
  stateOf: (generation: Generation) => "right" | DamageKind,
): void {
  using directory = openIfDirectory(root, which);
  const file = which === fileNames.heads ? "head" : "dead";
  for (const name of directory === undefined ? [] : [...namesIn(directory)].toSorted()) {
    const generation = parseGeneration(name);
    const where = `${which}/${name}`;
    if (generation === undefined) say(where, "other", isTemporary(name) ? "leftover" : "extra");
    else if (generation > head.generation) say(where, file, "leftover", { number: generation });
    else {
      const state = stateOf(generation);
      if (state !== "right") say(where, file, state, { number: generation });
    }
  }
}

/** A list that can be read waits for its day. */
function stateOfDead(root: Directory, head: Head, generation: Generation): "corrupt" | "leftover" {
  try {
    readDead(root, head.archive, generation);
    return "leftover";
  } catch (error) {
    if (error instanceof FormatError) return "corrupt";
    throw error;
  }
}

/** A container that waits to be removed. What is missing of it has been removed, or is no damage of the newest state. */
async function scrubOld(
  { archive, head, chunkSize, onFound, onBytes, signal }: RestOptions,
  history: History,
  { volume, container }: OldContainer,
): Promise<void> {
  using directory = openIfDirectory(archive.root, volume.directory);
  if (directory === undefined) return;
  const where = `${volume.directory}/${containerName(container)}`;
  if (statOf(directory, containerName(container)) === undefined) return;
  const of = { volume: volume.volume, session: container.uid };
  let isShort = false;
  try {
    await scrubContainer({
      directory,
      volume: volume.volume,
      container,
      generation: head.generation,
      chunkSize,
      trash: archive.trash(),
      history: async () => history,
      onDamage: (file, what, number = 0, name) => {
        const path = name === undefined ? where : `${where}/${name}`;
        if (what === "missing") isShort = true;
        else onFound({ where: path, file, what: isDamage({ file, what }) ? "stale" : what, number, ...of });
      },
      onBytes,
      signal,
    });
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    onFound({ where, file: "session", what: "stale", number: 0, ...of });
  }
  if (isShort) onFound({ where, file: "session", what: "leftover", number: 0, ...of });
}
