// Making all of a session's directory last, whichever way is right for the file system and for so many files.

import { closeSync, constants, fsync, openSync } from "node:fs";
import { promisify } from "node:util";
import { listHeadBytes, listRecordBytes, readListRecord } from "../../../protocol/archive/list-file.ts";
import { chunkPath, fileNames } from "../../../protocol/archive/names.ts";
import { type Directory, namesIn, openDirectory, syncDirectory } from "../../directory.ts";
import { openFile, readStretch } from "../../files.ts";
import { fewFiles, isFuse, syncFileSystem, syncNamed } from "../durable.ts";

const fsyncFile = promisify(fsync);

/** Syncs a session that has so many chunks and a complete `list`. */
export async function syncSession(session: Directory, chunks: number): Promise<void> {
  if (isFuse(session) || chunks <= fewFiles) await syncEach(session);
  else await syncFileSystem(session);
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
