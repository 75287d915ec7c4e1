// Chunk files of a session in directory form, mostly asked for in rising order: the group's directory stays open.

import { constants, closeSync, fstatSync, openSync, readSync } from "node:fs";
import { chunkPath } from "../../../protocol/archive/names.ts";
import { FormatError } from "../../../protocol/errors.ts";
import { type Directory, directoryOf } from "../../directory.ts";
import { systemCode } from "../../errors.ts";
import type { StoredChunks } from "../stored-chunks.ts";

const fileFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const groupFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The chunks in `session`, which is then owned. */
export function chunkFiles(session: Directory): StoredChunks {
  let open: { readonly name: string; readonly directory: Directory } | undefined;

  const group = (name: string): Directory | undefined => {
    if (open?.name === name) return open.directory;
    open?.directory[Symbol.dispose]();
    open = undefined;
    const fd = openOr(session.at(name), groupFlags);
    if (fd === undefined) return undefined;
    open = { name, directory: directoryOf(fd) };
    return open.directory;
  };

  return {
    read: (address, into) => {
      const path = chunkPath(address);
      const fd = openOr(group(path.group)?.at(path.file), fileFlags);
      if (fd === undefined) return undefined;
      try {
        return readChunkFile(fd, into);
      } finally {
        closeSync(fd);
      }
    },
    [Symbol.dispose]: () => {
      open?.directory[Symbol.dispose]();
      open = undefined;
      session[Symbol.dispose]();
    },
  };
}

/** Opens a path; undefined where nothing is there. FormatError for what is something else. */
function openOr(path: string | undefined, flags: number): number | undefined {
  if (path === undefined) return undefined;
  try {
    return openSync(path, flags);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP" || code === "ENOTDIR" || code === "ENXIO")
      throw new FormatError("bad-value", "something else in the place of chunks");
    throw error;
  }
}

function readChunkFile(fd: number, into: Uint8Array): number {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw new FormatError("bad-value", "something that is no file in place of a chunk");
  if (stat.size > into.length) return stat.size;
  let done = 0;
  while (done < stat.size) {
    const count = readSync(fd, into, done, stat.size - done, done);
    if (count === 0) break;
    done += count;
  }
  return done;
}
