// What lies in a session's directory and is not of the state that counts: group by group, beside the list. What a dead list
// names waits there and has to be what it was; what nothing names is extra.

import { hash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type ListEntry,
  listHeadBytes,
  listRecordBytes,
  listTailBytes,
} from "../../protocol/archive/list-file.ts";
import { chunkPath, fileNames, parseChunkFile } from "../../protocol/archive/names.ts";
import { type ChunkAddress, maxStoredLength } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { type Directory, namesIn, openIfDirectory } from "../directory.ts";
import { isDamage } from "../errors.ts";
import { openFile, readWhole, statOf } from "../files.ts";
import { listRecords } from "../store/list-records.ts";
import { groupsOf } from "../store/remove.ts";
import { parseOldFile, stateOfOld } from "./old-file.ts";
import type { Report, ScrubOptions } from "./options.ts";

/** Reports it. `records` are those of the list that counts. */
export async function findExtras(
  options: ScrubOptions,
  records: Iterator<ListEntry, void, void>,
  report: Report,
): Promise<void> {
  const { directory, volume, container, chunkSize, trash } = options;
  using session = openIfDirectory(directory, container.name);
  if (session === undefined) return;
  const groups = (await groupsOf(session)).toSorted();
  using lists = await checkFiles(options, session, groups, report);
  const named = byGroup(records);
  const dead = lists.records.map(byGroup);
  for (const group of groups) {
    const living = named(group);
    const older = dead.map((of) => of(group));
    using files = openIfDirectory(session, group);
    for (const name of files === undefined ? [] : namesIn(files)) {
      const address = parseChunkFile(name);
      if (address === undefined || chunkPath(address).group !== group)
        report("other", "extra", 0, `${group}/${name}`);
      else if (living.has(address)) continue;
      else if (trash.isDeadChunk(volume, container.uid, address, chunkSize)) {
        // Its list goes first, so where there is none a removal was cut short.
        const entry = older.map((of) => of.get(address)).find((each) => each !== undefined);
        if (files !== undefined && entry !== undefined && !isChunk(files, name, entry, chunkSize))
          report("chunk", "stale", address);
      } else report("chunk", trash.unreadable ? "leftover" : "extra", address);
    }
    await nextTurn();
  }
}

/** Gives the records of a group's chunks; groups are asked for in rising order. */
function byGroup(
  records: Iterator<ListEntry, void, void>,
): (group: string) => ReadonlyMap<ChunkAddress, ListEntry> {
  let record = records.next().value ?? undefined;
  return (group) => {
    const found = new Map<ChunkAddress, ListEntry>();
    while (record !== undefined && chunkPath(record.address).group <= group) {
      found.set(record.address, record);
      record = records.next().value ?? undefined;
    }
    return found;
  };
}

function isChunk(files: Directory, name: string, { checksum }: ListEntry, chunkSize: number): boolean {
  try {
    const bytes = readWhole(files, name, maxStoredLength(chunkSize));
    return bytes === undefined || equalBytes(hash("sha256", bytes, "buffer"), checksum);
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

interface OldLists extends Disposable {
  readonly records: readonly Iterator<ListEntry, void, void>[];
}

/** The session's files but for its chunks; gives the superseded lists that are whole. */
async function checkFiles(
  options: ScrubOptions,
  session: Directory,
  groups: readonly string[],
  report: Report,
): Promise<OldLists> {
  const { container, generation, trash } = options;
  const records: Iterator<ListEntry, void, void>[] = [];
  const open: Disposable[] = [];
  const isGroup = new Set(groups);
  const isCurrent = { list: container.listGeneration, manifest: container.manifestGeneration };
  for (const name of [...namesIn(session)].toSorted()) {
    if (statOf(session, name) === undefined || isGroup.has(name)) continue;
    if (name === fileNames.header && container.headerDigest.some((byte) => byte !== 0)) continue;
    const file = parseOldFile(name);
    if (file === undefined) report("other", "extra", 0, name);
    else if (file.generation === isCurrent[file.kind]) continue;
    else if (file.generation > generation) report(file.kind, "leftover", file.generation);
    else if (!trash.isDeadFile(options.volume, container.uid, file.kind, file.generation))
      report(file.kind, trash.unreadable ? "leftover" : "extra", file.generation);
    else if ((await stateOfOld(options, session, name, file)) === "damaged")
      report(file.kind, "stale", file.generation);
    else if (file.kind === "list") {
      const list = openFile(session, name);
      if (list === undefined) continue;
      open.push(list);
      records.push(
        listRecords(list, Math.floor((list.length - listHeadBytes - listTailBytes) / listRecordBytes)),
      );
    }
  }
  return {
    records,
    [Symbol.dispose]: () => {
      for (const each of open) each[Symbol.dispose]();
    },
  };
}
