// Files that are put outside of a session: the archive's header, a volume's index, the head that is to come. Each is
// spooled to a temporary file in its own directory, and gets its name only when all of it is there and right.

import { closeSync } from "node:fs";
import { decodeArchiveHeader } from "../../protocol/archive/archive-header.ts";
import { decodeHead, maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { fileNames, indexFile } from "../../protocol/archive/names.ts";
import type { Digest } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { InternalError } from "../../protocol/errors.ts";
import type { MetaName, Put } from "../../protocol/wire/messages.ts";
import { type Directory, ensureDirectory, reopen } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { createFile, readWhole, removeFile } from "../files.ts";
import { type Archive, maxArchiveHeaderBytes } from "../store/archive.ts";
import { containersOf } from "../store/containers.ts";
import { syncNamed } from "../store/durable.ts";
import { publishFile } from "../store/publish.ts";
import { temporaries } from "../store/temporaries.ts";
import { dropUncommitted } from "./first-archive.ts";
import { startUpload, type Upload } from "./upload.ts";
import { findVolumeDirectory } from "./volume-directory.ts";

/** What a connection that writes remembers from one request to the next. */
export interface WriterMemory {
  /** Directories of volumes that had a session here in this connection, by hex volume id. */
  readonly begun: Map<string, string>;
  /** Digest of the head that was put last. */
  headPut: Digest | undefined;
}

export interface FileUpload extends Disposable {
  readonly upload: Upload;
  /** Checks what came, makes it last and gives it its name. */
  finish(): Promise<void>;
}

type Kind = "archive" | "index" | "head";
const largest: Readonly<Record<Kind, number>> = {
  archive: maxArchiveHeaderBytes,
  index: maxIndexBytes,
  head: maxHeadBytes,
};

/** Begins the upload of a file. RefusalError where it may not be put now. */
export function putFile(archive: Archive, memory: WriterMemory, announced: Put): FileUpload {
  const { name } = announced;
  const { kind } = name;
  if (kind !== "archive" && kind !== "index" && kind !== "head") {
    throw new RefusalError("malformed", `a ${kind} can be put in a session only`);
  }
  checkGeneration(archive, kind, name);
  const directory = homeOf(archive, memory, kind, name);
  const temporary = temporaries[kind];
  let fd: number | undefined;
  try {
    if (kind === "head") memory.headPut = undefined;
    removeFile(directory, temporary);
    const open = createFile(directory, temporary);
    fd = open;
    const upload = startUpload(announced, open, largest[kind]);
    return {
      upload,
      finish: async () => {
        upload.check();
        await syncNamed(directory, temporary);
        const bytes = readWhole(directory, temporary, largest[kind]);
        if (bytes === undefined) throw new InternalError("a file that was just written is gone");
        await publish[kind]({ archive, memory, directory, temporary, bytes, announced });
      },
      [Symbol.dispose]: () => {
        closeSync(open);
        directory[Symbol.dispose]();
      },
    };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    directory[Symbol.dispose]();
    throw error;
  }
}

function checkGeneration(archive: Archive, kind: Kind, { generation }: MetaName): void {
  if (kind === "archive") {
    if (archive.current !== undefined) throw new RefusalError("exists", "the archive has its header already");
    if (generation !== 0)
      throw new RefusalError("malformed", `an archive header of generation ${generation}, wanted 0`);
    return;
  }
  const wanted = archive.generation + 1;
  if (generation !== wanted)
    throw new RefusalError("stale", `a file for head ${generation}, wanted ${wanted}`);
}

function homeOf(archive: Archive, memory: WriterMemory, kind: Kind, name: MetaName): Directory {
  if (kind === "head") return ensureDirectory(archive.root, fileNames.heads);
  if (kind === "index")
    return findVolumeDirectory(archive, name.volume, memory.begun.get(toHex(name.volume)));
  return reopen(archive.root);
}

interface Arrived {
  readonly archive: Archive;
  readonly memory: WriterMemory;
  readonly directory: Directory;
  readonly temporary: string;
  readonly bytes: Uint8Array;
  readonly announced: Put;
}

/** What becomes of each kind once it has arrived. FormatError where it is not what it must be. */
const publish: Readonly<Record<Kind, (arrived: Arrived) => Promise<void>>> = {
  archive: async ({ archive, directory, temporary, bytes }) => {
    const { uuid } = decodeArchiveHeader(bytes);
    await dropUncommitted(archive, uuid);
    publishFile(directory, temporary, directory, fileNames.archive);
  },
  index: async ({ archive, directory, temporary, bytes, announced: { name } }) => {
    const header = archive.header()?.header;
    const identity = { volume: name.volume, generation: name.generation };
    containersOf(bytes, header === undefined ? identity : { ...identity, archive: header.uuid });
    // One of an attempt that was never committed: the current head is older, so none can name it.
    removeFile(directory, indexFile(name.generation));
    publishFile(directory, temporary, directory, indexFile(name.generation));
  },
  head: async ({ archive, memory, bytes, announced: { name, digest } }) => {
    const header = archive.header()?.header;
    if (header === undefined)
      throw new RefusalError("missing", "the archive has no header yet: put it first");
    decodeHead(bytes, { archive: header.uuid, generation: name.generation });
    memory.headPut = digest;
  },
};
