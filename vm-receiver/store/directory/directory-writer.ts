// Writing chunk files: one open, one write, one close a chunk, below a group's directory that stays open while its
// chunks come, which is all of them in a row, because addresses rise.

import { closeSync, constants, fsync, mkdirSync, openSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { listHeadBytes, listRecordBytes, readListRecord } from "../../../protocol/archive/list-file.ts";
import { chunkPath, fileNames } from "../../../protocol/archive/names.ts";
import type { SessionName } from "../../../protocol/archive/types.ts";
import { type Directory, namesIn, openDirectory, syncDirectory } from "../../directory.ts";
import { openFile, readStretch, writeAll } from "../../files.ts";
import { fewFiles, isFuse, syncFileSystem, syncNamed } from "../durable.ts";
import { dropRecord, type Part } from "../part.ts";
import { renameNew } from "../publish.ts";
import type { SessionWriter } from "../store.ts";

const fsyncFile = promisify(fsync);
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
        const count = writeSync(fd, stored, 0, stored.length, null);
        if (count < stored.length) writeAll(fd, stored.subarray(count));
      } finally {
        closeSync(fd);
      }
      part.add(address, stored, checksum);
    },
    createMeta: part.createMeta,
    checkpoint: async () => {
      if (isFuse(part.directory)) return false;
      part.list.flush();
      await syncFileSystem(part.directory);
      return true;
    },
    endList: part.endList,
    publish: async () => {
      dropRecord(part.directory);
      if (isFuse(part.directory) || part.written.chunks <= fewFiles) await syncEach(part.directory);
      else await syncFileSystem(part.directory);
      renameNew(volume, partName, volume, name);
      syncDirectory(volume);
      close();
    },
    [Symbol.dispose]: close,
  };
}

/** Syncs the chunk files that the list names, then every other file, then the directories. */
async function syncEach(session: Directory): Promise<void> {
  await syncChunks(session);
  for (const name of namesIn(session)) {
    if (/^[0-9a-f]{9}$/.test(name)) {
      using group = openDirectory(session, name);
      syncDirectory(group);
    } else {
      await syncNamed(session, name);
    }
  }
  syncDirectory(session);
}

async function syncChunks(session: Directory): Promise<void> {
  using list = openFile(session, fileNames.list);
  if (list === undefined) return;
  const stretch = 1024 * listRecordBytes;
  const end = list.length - ((list.length - listHeadBytes) % listRecordBytes);
  for (let at = listHeadBytes; at < end; at += stretch) {
    const records = readStretch(list, at, Math.min(stretch, end - at));
    for (let i = 0; i < records.length; i += listRecordBytes) {
      const { group, file } = chunkPath(readListRecord(records.subarray(i, i + listRecordBytes)).address);
      const fd = openSync(session.at(group) + `/${file}`, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        await fsyncFile(fd);
      } finally {
        closeSync(fd);
      }
    }
  }
}
