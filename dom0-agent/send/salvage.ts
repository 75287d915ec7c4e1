// Interrupted sends go on (design section 5): what an earlier session of the volume has on the medium becomes a
// container without a session, and what dom0's own journal confirms of it need not be sent again, whatever the
// snapshot is by now. The receiver's list says which chunks can be read back; the journal alone says what they are.

import { closeSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Container } from "../../protocol/archive/index-file.ts";
import {
  type ListEntry,
  listBuilder,
  listHeadBytes,
  listLength,
  listRecordBytes,
  listTailBytes,
  readListRecord,
} from "../../protocol/archive/list-file.ts";
import { chunkCount, type ContainerRef } from "../../protocol/archive/manifest.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import {
  type Digest,
  type Generation,
  maxStoredLength,
  type SessionUid,
} from "../../protocol/archive/types.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Pending } from "../../protocol/wire/messages.ts";
import type { KnownVolume } from "../state/archive-record.ts";
import { salvagedPrefix } from "../state/layout.ts";
import { type JournalIdentity, journalIdentity, readJournal } from "../state/journal.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { RefusedError } from "../archive/refused-error.ts";
import { discardLeftover } from "./leftovers.ts";
import type { SalvagedChunk } from "./known-chunks.ts";
import { readFully } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface Salvaged extends Disposable {
  /** As an index names them. */
  readonly containers: readonly Container[];
  readonly refs: readonly ContainerRef[];
  /** Chunks that can be referred to, in all of them. */
  readonly count: number;
  /** These chunks; container k of a place is `containers[k - 1]`. */
  chunks(): Generator<SalvagedChunk, void, undefined>;
}

interface Found {
  readonly container: Container;
  readonly listFd: number;
  readonly listPath: string;
  readonly journalPath: string;
  readonly usable: number;
}

/** Salvages what `pending` lists of a volume; what is of no use is discarded. Throws RefusedError `no-space` and
 *  `no-inodes`. */
export async function salvageLeftovers(
  open: OpenArchive,
  known: KnownVolume,
  pending: readonly Pending[],
  notice: (message: string) => void,
): Promise<Salvaged> {
  const found: Found[] = [];
  const close = (): void => {
    for (const { listFd, listPath } of found) {
      closeSync(listFd);
      rmSync(listPath, { force: true });
    }
  };
  try {
    for (const each of pending) {
      notice(`${each.name} was interrupted: looking at what it has left`);
      const one = await salvageOne(open, known, each);
      if (one !== undefined && one.usable > 0) {
        found.push(one);
        notice(`going on with ${each.name}: ${one.usable} chunks of it are there`);
        continue;
      }
      if (one !== undefined) {
        closeSync(one.listFd);
        rmSync(one.listPath, { force: true });
      }
      notice(`${each.name} has left nothing of use and is removed`);
      await discardLeftover(open, each);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    containers: found.map((each) => each.container),
    refs: found.map((each) => ({ volume: known.id, session: each.container.uid })),
    count: found.reduce((sum, each) => sum + each.usable, 0),
    chunks: function* () {
      for (const [i, each] of found.entries()) {
        for (const { id, entry } of confirmed(each)) {
          const { address, storedLength, checksum } = entry;
          yield { id, place: { container: i + 1, storedAddress: address, storedLength, checksum } };
        }
      }
    },
    [Symbol.dispose]: close,
  };
}

async function salvageOne(
  open: OpenArchive,
  known: KnownVolume,
  leftover: Pending,
): Promise<Found | undefined> {
  const { directory, session } = leftover;
  const paths = open.paths.volume(known.id);
  const journalPath = paths.journal(session);
  const of = journalIdentity(journalPath);
  if (of === undefined || !isOurs(of, open, known, session)) return undefined;
  const listPath = join(paths.directory, `${salvagedPrefix}${toHex(session)}`);
  const listFd = createFile(listPath);
  try {
    // A session has no more chunks than its volume.
    const chunks = chunkCount(of.size, of.chunkSize);
    const most = listLength(chunks);
    const stored = chunks * maxStoredLength(of.chunkSize);
    const length = await open.client.salvage(
      { directory, session },
      most,
      (bytes) => writeAll(listFd, bytes),
      stored,
    );
    if (length !== undefined) {
      const list = checkList(listFd, length, of);
      const container = containerOf(leftover, list);
      const counting = { container, listFd, listPath, journalPath, usable: 0 };
      let usable = 0;
      for (const _ of confirmed(counting)) usable++;
      return { ...counting, usable };
    }
  } catch (error) {
    closeSync(listFd);
    rmSync(listPath, { force: true });
    // A list that is not what it should be is of no use either.
    if ((!(error instanceof RefusedError) && !(error instanceof FormatError)) || isFull(error)) throw error;
    return undefined;
  }
  closeSync(listFd);
  rmSync(listPath, { force: true });
  return undefined;
}

/** The destination has no room left. */
export function isFull(error: unknown): boolean {
  return error instanceof RefusedError && (error.code === "no-space" || error.code === "no-inodes");
}

function isOurs(of: JournalIdentity, open: OpenArchive, known: KnownVolume, session: SessionUid): boolean {
  return (
    equalBytes(of.archive, open.record.uuid) &&
    equalBytes(of.volume, known.id) &&
    equalBytes(of.session, session) &&
    equalBytes(of.group, known.group) &&
    of.chunkSize === open.record.chunkSize
  );
}

interface CheckedList {
  readonly digest: Digest;
  readonly chunks: number;
  readonly bytes: number;
}

/** The list, record by record, against its own digest and the session that it must be of. Throws FormatError. */
function checkList(fd: number, length: number, of: JournalIdentity): CheckedList {
  if (length < listHeadBytes + listTailBytes)
    throw new FormatError("truncated", `read list: ${length} bytes`);
  const head = readPart(fd, 0, listHeadBytes);
  const prefix = decodePrefix(head);
  const { archive, volume, session } = of;
  expectPrefix(prefix, { kind: "list", archive, volume });
  if (!equalBytes(head.subarray(prefixBytes), session))
    throw new FormatError("bad-value", "read list: of another session");
  const builder = listBuilder({ archive, volume, generation: prefix.generation, session });
  for (const entry of listEntries(fd, length)) builder.add(entry);
  const { tail, digest, chunks, bytes } = builder.finish();
  if (!equalBytes(tail, readPart(fd, length - listTailBytes, listTailBytes)))
    throw new FormatError("bad-digest", "read list: its count or digest does not fit its records");
  return { digest, chunks, bytes };
}

function containerOf({ session, name, form }: Pending, list: CheckedList): Container {
  const none = new Uint8Array(32) as Digest;
  return {
    uid: session,
    name,
    form,
    headerDigest: none,
    listGeneration: 0 as Generation,
    listDigest: list.digest,
    manifestGeneration: 0 as Generation,
    manifestDigest: none,
    chunks: list.chunks,
    storedBytes: list.bytes,
  };
}

/** The entries of the list that the journal knows with just that length and checksum, and their ids. Both rise. */
function* confirmed(
  of: Found,
): Generator<{ readonly id: Uint8Array; readonly entry: ListEntry }, void, undefined> {
  const journal = readJournal(of.journalPath);
  try {
    let noted = journal.next();
    for (const entry of listEntries(
      of.listFd,
      listHeadBytes + of.container.chunks * listRecordBytes + listTailBytes,
    )) {
      while (noted.done !== true && noted.value.address < entry.address) noted = journal.next();
      if (noted.done === true) return;
      const { address, storedLength, checksum, id } = noted.value;
      if (address !== entry.address) continue;
      if (storedLength === entry.storedLength && equalBytes(checksum, entry.checksum)) yield { id, entry };
    }
  } finally {
    journal.return();
  }
}

function* listEntries(fd: number, length: number): Generator<ListEntry, void, undefined> {
  const end = length - listTailBytes;
  if ((end - listHeadBytes) % listRecordBytes !== 0)
    throw new FormatError("truncated", "read list: half a record");
  const step = listRecordBytes * 1024;
  for (let at = listHeadBytes; at < end; at += step) {
    const part = readPart(fd, at, Math.min(step, end - at));
    for (let from = 0; from < part.length; from += listRecordBytes)
      yield readListRecord(part.subarray(from, from + listRecordBytes));
  }
}

function readPart(fd: number, position: number, length: number): Uint8Array {
  const part = new Uint8Array(length);
  readFully(fd, part, position, "a list");
  return part;
}
