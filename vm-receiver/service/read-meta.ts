// readMeta: files of the archive by what they are. Volume ids and session uids are looked up in the current head and the
// index that it names; nothing that comes over the wire is ever part of a path.

import { read } from "node:fs";
import { promisify } from "node:util";
import { maxDeadBytes } from "../../protocol/archive/dead-file.ts";
import { maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { archiveFile, fileNames, indexFile } from "../../protocol/archive/names.ts";
import { maxSessionHeaderBytes } from "../../protocol/archive/session-header.ts";
import { maxPartBytes, type MetaKind, type MetaName } from "../../protocol/wire/messages.ts";
import { frameHeaderBytes, writeFrameHeader } from "../../protocol/wire/frame.ts";
import { type Directory, openIfThere } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { openFile, type StoredFile } from "../files.ts";
import { type Archive, corruptUnless, findContainer, maxArchiveHeaderBytes } from "../store/archive.ts";
import { inCopies } from "../store/copies.ts";
import { stores } from "../store/stores.ts";

/** Bytes of the largest file of each kind; a manifest and a list have no bound but their volume. */
const largest: Readonly<Record<MetaKind, number>> = {
  archive: maxArchiveHeaderBytes,
  head: maxHeadBytes,
  dead: maxDeadBytes,
  index: maxIndexBytes,
  header: 2 * maxSessionHeaderBytes,
  manifest: Number.MAX_SAFE_INTEGER,
  list: Number.MAX_SAFE_INTEGER,
  headCopy: maxHeadBytes,
  indexCopy: maxIndexBytes,
};

/** Opens what `name` names. RefusalError `missing` where it is not there, `corrupt` where it can't be what it should. */
export function openMeta(archive: Archive | undefined, name: MetaName): StoredFile {
  const file = archive && corruptUnless(`the ${name.kind}`, () => find(archive, name));
  if (file === undefined) throw new RefusalError("missing", `there is no such ${name.kind}`);
  if (file.length <= largest[name.kind]) return file;
  file[Symbol.dispose]();
  throw new RefusalError(
    "corrupt",
    `the ${name.kind} has ${file.length} bytes, at most ${largest[name.kind]} allowed`,
  );
}

function find(archive: Archive, name: MetaName): StoredFile | undefined {
  switch (name.kind) {
    case "archive":
      return openFile(archive.root, archiveFile(name.generation));
    case "head":
      return inDirectory(archive.root, fileNames.heads, (heads) => openFile(heads, String(name.generation)));
    case "dead":
      return inDirectory(archive.root, fileNames.dead, (dead) => openFile(dead, String(name.generation)));
    case "index":
      return inVolume(archive, name, (volume) => openFile(volume, indexFile(name.generation)));
    case "headCopy":
      return inCopies(archive.root, fileNames.heads, (heads) => openFile(heads, String(name.generation)));
    case "indexCopy": {
      const volume = archive.volume(name.volume);
      return (
        volume && inCopies(archive.root, volume.directory, (of) => openFile(of, indexFile(name.generation)))
      );
    }
    case "header":
    case "manifest":
    case "list": {
      using found = findContainer(archive, name);
      if (found === undefined) return undefined;
      const { kind, generation } = name;
      const { form, name: label } = found.container;
      return stores[form].open(found.directory, label, kind === "header" ? { kind } : { kind, generation });
    }
  }
}

function inVolume<T>(archive: Archive, name: MetaName, use: (volume: Directory) => T): T | undefined {
  const of = archive.volume(name.volume);
  return of && inDirectory(archive.root, of.directory, use);
}

function inDirectory<T>(parent: Directory, name: string, use: (directory: Directory) => T): T | undefined {
  using directory = openIfThere(parent, name);
  return directory && use(directory);
}

const readAt = promisify(read);

/** Sends a file as data frames, laid out in one buffer, each once the one before has left. Gives its length. */
export async function streamFile(
  file: StoredFile,
  id: number,
  sendFrame: (frame: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  const frame = new Uint8Array(frameHeaderBytes + Math.min(maxPartBytes, file.length));
  for (let at = 0; at < file.length;) {
    const wanted = Math.min(maxPartBytes, file.length - at);
    const { bytesRead } = await readAt(file.fd, frame, frameHeaderBytes, wanted, file.offset + at);
    if (signal.aborted) return at;
    if (bytesRead === 0)
      throw new RefusalError("corrupt", `a file ends after ${at} bytes, wanted ${file.length}`);
    writeFrameHeader(frame, 0, "data", id, bytesRead);
    await sendFrame(frame.subarray(0, frameHeaderBytes + bytesRead));
    at += bytesRead;
  }
  return file.length;
}
