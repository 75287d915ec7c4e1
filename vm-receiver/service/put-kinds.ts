// Each kind of file that can be put outside of a session: where it goes, and what it must be before it goes there.

import { type ArchiveHeader, decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { decodeDead, maxDeadBytes } from "../../protocol/archive/dead-file.ts";
import { decodeHead, maxHeadBytes } from "../../protocol/archive/head.ts";
import { type Container, maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { listHeadBytes, listRecordBytes, listTailBytes } from "../../protocol/archive/list-file.ts";
import {
  archiveFile,
  besideTar,
  fileNames,
  indexFile,
  listFile,
  manifestFile,
} from "../../protocol/archive/names.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError, InternalError } from "../../protocol/errors.ts";
import type { MetaName, Put } from "../../protocol/wire/messages.ts";
import { type Directory, ensureDirectory, openIfThere, reopen } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { openFile, readStretch, readWhole, removeFile } from "../files.ts";
import { type Archive, findContainer, maxArchiveHeaderBytes } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { publishFile } from "../store/publish.ts";
import { checkNoneThere } from "./other-archives.ts";
import { findVolumeDirectory, putCopy } from "./volume-directory.ts";
import type { Power, WriterMemory } from "./writing.ts";

export type Kind = "archive" | "head" | "dead" | "index" | "manifest" | "list";

/** Where a file is spooled: the directory that it will lie in, or for a session's file its volume's. */
export interface Home extends Disposable {
  readonly directory: Directory;
  /** The container that a manifest or list is of. */
  readonly container?: Container;
}

/** Opens it. RefusalError `missing` where what the file is to belong to is not there. */
export function openHome(
  archive: Archive,
  memory: WriterMemory,
  power: Power,
  kind: Kind,
  name: MetaName,
): Home {
  const home = (directory: Directory): Home => ({
    directory,
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  });
  switch (kind) {
    case "archive":
      return home(reopen(archive.root));
    case "head":
      return home(ensureDirectory(archive.root, fileNames.heads));
    case "dead":
      return home(ensureDirectory(archive.root, fileNames.dead));
    case "index":
      if (power === "prune" && archive.volume(name.volume) === undefined)
        throw new RefusalError("missing", "there is no such volume");
      return home(findVolumeDirectory(archive, name.volume, memory.begun.get(toHex(name.volume))));
    case "manifest":
    case "list": {
      const found = findContainer(archive, name);
      if (found === undefined) throw new RefusalError("missing", "there is no such container");
      return found;
    }
  }
}

export interface Arrived {
  readonly archive: Archive;
  readonly memory: WriterMemory;
  readonly home: Home;
  readonly temporary: string;
  readonly announced: Put;
  readonly power: Power;
}

/** What becomes of each kind once it has arrived. FormatError where it is not what it must be. */
export const publishers: Readonly<Record<Kind, (arrived: Arrived) => Promise<void>>> = {
  archive: async (arrived) => {
    const { archive, home, temporary, announced, power } = arrived;
    const header = decodeArchiveHeader(bytesOf(arrived, maxArchiveHeaderBytes));
    const { generation } = announced.name;
    const name = archiveFile(generation);
    if (power === "add") checkNoneThere(archive.root, header.uuid);
    else if (generation > archive.generation) {
      checkSameArchive(header, headerOf(archive));
      copyToVolumes(archive, name, bytesOf(arrived, maxArchiveHeaderBytes));
    }
    removeFile(home.directory, name);
    publishFile(home.directory, temporary, home.directory, name);
  },
  head: async (arrived) => {
    const { archive, memory, announced } = arrived;
    const { generation } = announced.name;
    decodeHead(bytesOf(arrived, maxHeadBytes), { archive: headerOf(archive).uuid, generation });
    memory.headPut = announced.digest;
  },
  dead: async (arrived) => {
    const { archive, home, temporary, announced } = arrived;
    const { generation } = announced.name;
    decodeDead(bytesOf(arrived, maxDeadBytes), { archive: headerOf(archive).uuid, generation });
    removeFile(home.directory, String(generation));
    publishFile(home.directory, temporary, home.directory, String(generation));
  },
  index: async (arrived) => {
    const { archive, home, temporary, announced } = arrived;
    const { volume, generation } = announced.name;
    const header = archive.header()?.header;
    const identity = { volume, generation };
    containersOf(
      bytesOf(arrived, maxIndexBytes),
      header === undefined ? identity : { ...identity, archive: header.uuid },
    );
    removeFile(home.directory, indexFile(generation));
    publishFile(home.directory, temporary, home.directory, indexFile(generation));
  },
  manifest: async (arrived) => {
    checkSessionFile(arrived, "manifest");
    publishInSession(arrived, manifestFile(arrived.announced.name.generation));
  },
  list: async (arrived) => {
    checkSessionFile(arrived, "list");
    publishInSession(arrived, listFile(arrived.announced.name.generation));
  },
};

function bytesOf({ home, temporary }: Arrived, max: number): Uint8Array {
  const bytes = readWhole(home.directory, temporary, max);
  if (bytes === undefined) throw new InternalError("a file that was just written is gone");
  return bytes;
}

function headerOf(archive: Archive): ArchiveHeader {
  const header = archive.header()?.header;
  if (header === undefined) throw new RefusalError("missing", "the archive has no header yet: put it first");
  return header;
}

/** A later header changes the key slots, and nothing that data depends on. */
function checkSameArchive(now: ArchiveHeader, before: ArchiveHeader): void {
  const same =
    equalBytes(now.uuid, before.uuid) &&
    now.chunkSize === before.chunkSize &&
    now.sealed === before.sealed &&
    equalBytes(now.idSeed, before.idSeed);
  if (!same) throw new RefusalError("malformed", "the archive header is of another archive");
}

/** Puts a copy into every volume's directory, before the archive's own: that says that there are copies. */
function copyToVolumes(archive: Archive, name: string, bytes: Uint8Array): void {
  for (const { directory } of archive.current?.head.volumes ?? []) {
    using volume = openIfThere(archive.root, directory);
    if (volume === undefined) continue;
    putCopy(volume, name, bytes);
  }
}

/** A manifest or list must say that it is that container's. Its digest has been checked on the way. */
function checkSessionFile({ archive, home, temporary, announced }: Arrived, kind: "manifest" | "list"): void {
  using file = openFile(home.directory, temporary);
  if (file === undefined) throw new InternalError("a file that was just written is gone");
  const { volume, session, generation } = announced.name;
  const head = readStretch(file, 0, Math.min(listHeadBytes, file.length));
  const prefix = decodePrefix(head.subarray(0, prefixBytes));
  expectPrefix(prefix, { kind, archive: headerOf(archive).uuid, volume, generation });
  if (prefix.protection === "sealed") return;
  if (!equalBytes(head.subarray(prefixBytes), session))
    throw new FormatError("bad-value", `put ${kind}: of another session`);
  const records = file.length - listHeadBytes - listTailBytes;
  if (kind === "list" && (records < 0 || records % listRecordBytes !== 0))
    throw new FormatError("truncated", "put list: half a record");
}

function publishInSession({ home, temporary }: Arrived, file: string): void {
  const { directory, container } = home;
  if (container === undefined) throw new InternalError("a session's file without its session");
  if (container.form === "tar") {
    const name = besideTar(container.name, file);
    removeFile(directory, name);
    publishFile(directory, temporary, directory, name);
    return;
  }
  using session = openIfThere(directory, container.name);
  if (session === undefined) throw new RefusalError("missing", "the container is not there");
  removeFile(session, file);
  publishFile(directory, temporary, session, file);
}
