// Files that are put outside of a session. Each is spooled to a temporary file, and gets its name only when all of it is
// there and right. Nothing that a head names is replaced: all are of the generation that is to come, and one of that name
// is of an attempt that was never committed. Only the header that counts may be put again, where it is lost or rotten: by
// the digest that the head has of it.

import { closeSync } from "node:fs";
import { maxDeadBytes } from "../../protocol/archive/dead-file.ts";
import { maxHeadBytes } from "../../protocol/archive/head.ts";
import { maxIndexBytes } from "../../protocol/archive/index-file.ts";
import { archiveFile } from "../../protocol/archive/names.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import type { Directory } from "../directory.ts";
import { ifPossible, RefusalError } from "../errors.ts";
import type { Put } from "../../protocol/wire/messages.ts";
import { createFile, removeFile } from "../files.ts";
import { fileRoom } from "../room.ts";
import { stateOfHeader } from "../scrub/header-file.ts";
import type { Space } from "../space.ts";
import { type Archive, maxArchiveHeaderBytes } from "../store/archive.ts";
import { syncNamed } from "../store/durable.ts";
import { temporaries } from "../store/temporaries.ts";
import { type Kind, openHome, publishers } from "./put-kinds.ts";
import { startUpload, type Upload } from "./upload.ts";
import type { Power, WriterMemory } from "./writing.ts";

export interface FileUpload extends Disposable {
  readonly upload: Upload;
  /** Checks what came, makes it last and gives it its name. */
  finish(): Promise<void>;
}

/** Bytes of the largest file that can be put: a manifest or list of the largest volume there may be. */
export const largestPut: number = 2 ** 42;
const largest: Readonly<Record<Kind, number>> = {
  archive: maxArchiveHeaderBytes,
  head: maxHeadBytes,
  dead: maxDeadBytes,
  index: maxIndexBytes,
  manifest: largestPut,
  list: largestPut,
};
const kindsOf: Readonly<Record<Power, readonly Kind[]>> = {
  add: ["archive", "index", "head"],
  prune: ["archive", "dead", "manifest", "list", "index", "head"],
};

/** Begins the upload of a file; `space` is that of the file system. RefusalError where it may not be put now, or not by this
 *  service, and `no-space`, `no-inodes`. */
export function putFile(
  archive: Archive,
  memory: WriterMemory,
  announced: Put,
  power: Power,
  space: () => Space,
): FileUpload {
  const { name } = announced;
  const kind = kindsOf[power].find((each) => each === name.kind);
  if (kind === undefined) {
    throw new RefusalError("malformed", `a ${name.kind} can't be put here`);
  }
  checkGeneration(archive, power, kind, announced);
  // A prune may take what others have to leave.
  const room = power === "add" ? fileRoom(space) : undefined;
  room?.take(0);
  const home = openHome(archive, memory, power, kind, name);
  const { directory } = home;
  const temporary = temporaries[kind];
  let fd: number | undefined;
  let finished = false;
  try {
    if (kind === "head") memory.headPut = undefined;
    removeFile(directory, temporary);
    const open = createFile(directory, temporary);
    fd = open;
    const upload = startUpload(announced, open, largest[kind], room);
    return {
      upload,
      finish: async () => {
        upload.check();
        await syncNamed(directory, temporary);
        await publishers[kind]({ archive, memory, home, temporary, announced, power });
        finished = true;
      },
      [Symbol.dispose]: () => {
        closeSync(open);
        if (!finished) dropTemporary(directory, temporary);
        home[Symbol.dispose]();
      },
    };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    home[Symbol.dispose]();
    throw error;
  }
}

/** It may be what fills the drive. Where it can't be removed now, the next connection sweeps it. */
function dropTemporary(directory: Directory, name: string): void {
  ifPossible(() => removeFile(directory, name));
}

function checkGeneration(archive: Archive, power: Power, kind: Kind, { name, digest }: Put): void {
  const { generation } = name;
  const head = archive.current?.head;
  if (kind === "archive" && power === "prune" && head?.archiveGeneration === generation) {
    // What the head names, where it is lost: nothing else has that digest.
    if (!equalBytes(digest, head.archiveDigest))
      throw new RefusalError("malformed", "an archive header that the head does not name");
    const state = stateOfHeader(archive.root, archiveFile(generation), head.archive, head.archiveDigest);
    if (state === "whole") throw new RefusalError("exists", "the archive has its header already");
    return;
  }
  if (kind === "archive" && power === "add") {
    if (archive.current !== undefined) throw new RefusalError("exists", "the archive has its header already");
    if (generation !== 0)
      throw new RefusalError("malformed", `an archive header of generation ${generation}, wanted 0`);
    return;
  }
  const wanted = archive.generation + 1;
  if (generation !== wanted)
    throw new RefusalError("stale", `a file for head ${generation}, wanted ${wanted}`);
}
