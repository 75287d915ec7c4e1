// Records of a list one after another, from a file that may be any length, without ever holding all of it.

import {
  type ListEntry,
  listHeadBytes,
  listRecordBytes,
  readListRecord,
} from "../../protocol/archive/list-file.ts";
import { isDamage } from "../errors.ts";
import { fillFrom, type StoredFile } from "../files.ts";

const stretchRecords = 1024;

/** The first `count` records. Throws FormatError for one that can't be, and where the file ends before. */
export function* listRecords(file: StoredFile, count: number): Generator<ListEntry, void, void> {
  const stretch = new Uint8Array(Math.max(0, Math.min(stretchRecords, count)) * listRecordBytes);
  for (let done = 0; done < count;) {
    const records = Math.min(stretchRecords, count - done);
    const bytes = stretch.subarray(0, records * listRecordBytes);
    fillFrom(file, listHeadBytes + done * listRecordBytes, bytes);
    for (let i = 0; i < records; i++) {
      yield readListRecord(bytes.subarray(i * listRecordBytes, (i + 1) * listRecordBytes));
    }
    done += records;
  }
}

/** The records of a list that was cut short anywhere, as far as they can be read and rise. */
export function* recordsOfPart(file: StoredFile): Generator<ListEntry, void, void> {
  const count = Math.floor((file.length - listHeadBytes) / listRecordBytes);
  let next = 0;
  try {
    for (const entry of listRecords(file, count)) {
      if (entry.address < next) return;
      next = entry.address + 1;
      yield entry;
    }
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
}
