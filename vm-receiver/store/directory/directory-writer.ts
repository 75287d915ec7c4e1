// Writing chunk files: one open, one write, one close a chunk, below a group's directory that stays open while its
// chunks come, which is all of them in a row, because addresses rise.

import { closeSync, constants, mkdirSync, openSync, writeSync } from "node:fs";
import { chunkPath } from "../../../protocol/archive/names.ts";
import type { SessionName } from "../../../protocol/archive/types.ts";
import { type Directory, openDirectory, syncDirectory } from "../../directory.ts";
import { writeAll } from "../../files.ts";
import { isFuse, syncFileSystem } from "../durable.ts";
import { dropRecord, forsakenBy, type Part, syncOrForsake } from "../part.ts";
import { renameNew } from "../publish.ts";
import type { SessionWriter } from "../store.ts";
import { syncSession } from "./sync-session.ts";

const createFlags = constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | constants.O_WRONLY;

/** Writes the session whose part lies in `volume` under `partName`, and in the end calls it `name`. */
export function directoryWriter(
  volume: Directory,
  part: Part,
  partName: string,
  name: SessionName,
): SessionWriter {
  let group: { readonly name: string; readonly directory: Directory } | undefined;

  const groupOf = (wanted: string): Directory => {
    if (group?.name === wanted) return group.directory;
    group?.directory[Symbol.dispose]();
    group = undefined;
    mkdirSync(part.directory.at(wanted), 0o700);
    group = { name: wanted, directory: openDirectory(part.directory, wanted) };
    return group.directory;
  };
  const close = (): void => {
    group?.directory[Symbol.dispose]();
    group = undefined;
    part[Symbol.dispose]();
  };

  return {
    get written() {
      return part.written;
    },
    writeChunk: (address, stored, checksum) => {
      const path = chunkPath(address);
      const fd = openSync(`/proc/self/fd/${groupOf(path.group).fd}/${path.file}`, createFlags, 0o600);
      try {
        try {
          const count = writeSync(fd, stored, 0, stored.length, null);
          if (count < stored.length) writeAll(fd, stored.subarray(count));
        } finally {
          closeSync(fd);
        }
      } catch (error) {
        throw forsakenBy(error, part.directory);
      }
      part.add(address, stored, checksum);
    },
    createMeta: part.createMeta,
    checkpoint: async () => {
      if (isFuse(part.directory)) return false;
      part.list.flush();
      await syncOrForsake(part.directory, async () => syncFileSystem(part.directory));
      return true;
    },
    endList: part.endList,
    publish: async () => {
      dropRecord(part.directory);
      await syncOrForsake(part.directory, async () => syncSession(part.directory, part.written.chunks));
      renameNew(volume, partName, volume, name);
      syncDirectory(volume);
      close();
    },
    [Symbol.dispose]: close,
  };
}
