// Where chunks are kept, by their ids: a hash table in a file, of which a look-up reads one page, whatever the table's
// size (design section 5, "one small read a look-up"). docs/state.md has every byte of it.
//
//   page, 4096 bytes: 51 slots of 80 | count u16 | overflowed u16 | zeros 8 | CRC-32 of all before
//   slot: id 32 | checksum 32 | stored address u64 | stored length u32 | container u32
//
// The page of an id follows from its first bytes and rises with them, so walking a table from its first page to its
// last, into another, writes that one from its first page to its last. A page that is full sends what comes later to
// the next one and says so. A page of zeros is empty. Nothing here decides whether what a table says is true.

import { closeSync, constants, ftruncateSync, openSync } from "node:fs";
import { crc32 } from "node:zlib";
import type { ChunkAddress, ChunkId, Digest } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { readAvailable } from "../read-fully.ts";
import { createFile, writeAll, writing } from "./writing.ts";

export const pageBytes = 4096;
export const slotsPerPage = 51;
const slotBytes = 80;
const countAt = slotsPerPage * slotBytes;
const overflowAt = countAt + 2;
const crcAt = pageBytes - 4;
/** Pages that are read at once where all of a table is read. */
const blockPages = 64;
/** Entries that a page takes on average in a table that is as full as it should get. */
const comfortable = 36;

/** Where a chunk's stored form lies. */
export interface ChunkPlace {
  /** A number of the table's owner: which container. */
  readonly container: number;
  readonly storedAddress: ChunkAddress;
  readonly storedLength: number;
  readonly checksum: Digest;
}

/** An open table; plain data, which goes to other threads as it is. */
export interface TableFile {
  readonly fd: number;
  readonly pages: number;
}

/** A page that does not fit its CRC-32, or an address above 2^53-1. The table is a cache: whoever meets it has the table made again. */
export class DamagedTableError extends Error {
  override readonly name: string = "DamagedTableError";
}

export interface ChunkTable extends Disposable {
  readonly file: TableFile;
  readonly entries: number;
  /** The place of `id`; undefined where the table does not have it. Throws DamagedTableError. */
  find(id: Uint8Array): ChunkPlace | undefined;
  /** Adds an entry; false where the id is there already, whose place stays. Throws DamagedTableError. */
  add(id: Uint8Array, place: ChunkPlace): boolean;
  /** Removes the entries that `isGone` names, by container and stored address; gives their number. One pass over the
   *  file. Throws DamagedTableError. */
  drop(isGone: (container: number, storedAddress: ChunkAddress) => boolean): number;
  /** Hands what was added to the file; other threads see it from then on. */
  flush(): void;
}

/** Pages that hold `entries` with room to spare. */
export function pagesFor(entries: number): number {
  return Math.max(1, Math.ceil(entries / comfortable));
}

/** A new, empty table at `path` with room for `entries`. The file is sparse: what is not used takes no space. */
export function createTable(path: string, entries: number): ChunkTable {
  const fd = createFile(path);
  const pages = pagesFor(entries);
  writing(path, () => ftruncateSync(fd, pages * pageBytes));
  return tableOf({ fd, pages }, 0);
}

/** The table at `path`, which has so many pages and entries. */
export function openTable(path: string, pages: number, entries: number): ChunkTable {
  return tableOf({ fd: openSync(path, constants.O_RDWR | constants.O_NOFOLLOW), pages }, entries);
}

/**
 * Looks `id` up, with `page` (pageBytes long) as working space. Throws DamagedTableError, also where another thread is
 * writing the page at this moment and the file system lets that be seen.
 */
export function findChunk(table: TableFile, id: Uint8Array, page: Uint8Array): ChunkPlace | undefined {
  let at = homeOf(id, table.pages);
  for (let tried = 0; tried < table.pages; tried++) {
    loadPage(table, at, page);
    const slot = slotOf(page, id);
    if (slot >= 0) return placeAt(page, slot);
    if (!hasOverflowed(page)) return undefined;
    at = (at + 1) % table.pages;
  }
  return undefined;
}

/** All entries, in the order of the pages; each is good until the next is asked for. Throws DamagedTableError. */
export function* entriesOf(
  table: TableFile,
): Generator<{ readonly id: ChunkId; readonly place: ChunkPlace }, void, undefined> {
  for (const { page } of pagesOf(table)) {
    for (let slot = 0; slot < countOf(page); slot++) {
      yield {
        id: page.subarray(slot * slotBytes, slot * slotBytes + 32) as ChunkId,
        place: placeAt(page, slot),
      };
    }
  }
}

/** All pages, read many at a time; each is good until the next is asked for. Throws DamagedTableError. */
function* pagesOf(table: TableFile): Generator<{ readonly page: Uint8Array; readonly at: number }> {
  const block = new Uint8Array(Math.min(blockPages, table.pages) * pageBytes);
  for (let at = 0; at < table.pages; at++) {
    const inBlock = at % blockPages;
    if (inBlock === 0) {
      const pages = Math.min(blockPages, table.pages - at);
      readPages(table, at, block.subarray(0, pages * pageBytes));
    }
    const page = block.subarray(inBlock * pageBytes, (inBlock + 1) * pageBytes);
    checkPage(page, at);
    yield { page, at };
  }
}

function tableOf(file: TableFile, found: number): ChunkTable {
  const page = new Uint8Array(pageBytes);
  let current = -1;
  let dirty = false;
  let entries = found;

  const flush = (): void => {
    if (!dirty) return;
    writePage(file, page, current);
    dirty = false;
  };
  const load = (at: number): void => {
    if (at === current) return;
    flush();
    current = -1;
    loadPage(file, at, page);
    current = at;
  };

  return {
    file,
    get entries() {
      return entries;
    },
    find: (id) => {
      flush();
      current = -1;
      return findChunk(file, id, page);
    },
    add: (id, place) => {
      let at = homeOf(id, file.pages);
      for (let tried = 0; tried < file.pages; tried++) {
        load(at);
        if (slotOf(page, id) >= 0) return false;
        const count = countOf(page);
        // An entry may lie behind an overflow even when there is room here again: what was in front of it was dropped.
        if (count < slotsPerPage && (!hasOverflowed(page) || findChunk(file, id, scratch) === undefined)) {
          writeSlot(page, count, id, place);
          putU16(page, countAt, count + 1);
          dirty = true;
          entries++;
          return true;
        }
        if (count < slotsPerPage) return false;
        if (!hasOverflowed(page)) {
          putU16(page, overflowAt, 1);
          dirty = true;
        }
        at = (at + 1) % file.pages;
      }
      throw new RangeError(`chunk table: ${entries} entries fill all ${file.pages} pages`);
    },
    drop: (isGone) => {
      flush();
      current = -1;
      let dropped = 0;
      for (const { page: each, at } of pagesOf(file)) {
        const before = countOf(each);
        for (let slot = before - 1; slot >= 0; slot--) {
          if (!isGone(containerAt(each, slot), storedAddressAt(each, slot))) continue;
          const last = countOf(each) - 1;
          each.copyWithin(slot * slotBytes, last * slotBytes, (last + 1) * slotBytes);
          each.fill(0, last * slotBytes, (last + 1) * slotBytes);
          putU16(each, countAt, last);
        }
        if (countOf(each) === before) continue;
        dropped += before - countOf(each);
        writePage(file, each, at);
      }
      entries -= dropped;
      return dropped;
    },
    flush,
    [Symbol.dispose]: () => closeSync(file.fd),
  };
}

/** Working space of this thread; nothing in it outlives a call. */
const scratch = new Uint8Array(pageBytes);
const emptyPage = new Uint8Array(pageBytes);

// A DataView for each page that is looked at would be most of the garbage of a table with millions of entries.

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 65_536 + u16(bytes, at + 2);
}

function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  putU16(bytes, at, value >>> 16);
  putU16(bytes, at + 2, value);
}

function countOf(page: Uint8Array): number {
  return u16(page, countAt);
}

function hasOverflowed(page: Uint8Array): boolean {
  return u16(page, overflowAt) !== 0;
}

/** Ids are MACs, so their first 48 bits spread evenly over the pages. */
function homeOf(id: Uint8Array, pages: number): number {
  return Math.floor(((u32(id, 0) * 65_536 + u16(id, 4)) / 2 ** 48) * pages);
}

function slotOf(page: Uint8Array, id: Uint8Array): number {
  const count = countOf(page);
  // The first bytes of all ids of a page are much alike; these are not.
  const mark = u32(id, 8);
  for (let slot = 0; slot < count; slot++) {
    const at = slot * slotBytes;
    if (u32(page, at + 8) === mark && equalBytes(page.subarray(at, at + 32), id)) return slot;
  }
  return -1;
}

function placeAt(page: Uint8Array, slot: number): ChunkPlace {
  const at = slot * slotBytes;
  return {
    checksum: page.slice(at + 32, at + 64) as Digest,
    storedAddress: storedAddressAt(page, slot),
    storedLength: u32(page, at + 72),
    container: containerAt(page, slot),
  };
}

function storedAddressAt(page: Uint8Array, slot: number): ChunkAddress {
  const at = slot * slotBytes + 64;
  const address = u32(page, at) * 2 ** 32 + u32(page, at + 4);
  if (!Number.isSafeInteger(address))
    throw new DamagedTableError("chunk table: found an address above 2^53-1");
  return address as ChunkAddress;
}

function containerAt(page: Uint8Array, slot: number): number {
  return u32(page, slot * slotBytes + 76);
}

function writeSlot(page: Uint8Array, slot: number, id: Uint8Array, place: ChunkPlace): void {
  const at = slot * slotBytes;
  page.set(id, at);
  page.set(place.checksum, at + 32);
  putU32(page, at + 64, Math.floor(place.storedAddress / 2 ** 32));
  putU32(page, at + 68, place.storedAddress % 2 ** 32);
  putU32(page, at + 72, place.storedLength);
  putU32(page, at + 76, place.container);
}

function loadPage(table: TableFile, at: number, page: Uint8Array): void {
  readPages(table, at, page);
  checkPage(page, at);
}

function writePage(table: TableFile, page: Uint8Array, at: number): void {
  putU32(page, crcAt, crc32(page.subarray(0, crcAt)));
  writeAll(table.fd, page, at * pageBytes);
}

/** Fills `pages` from page `at` on. */
function readPages(table: TableFile, at: number, pages: Uint8Array): void {
  if (readAvailable(table.fd, pages, at * pageBytes, "the chunk table") < pages.length)
    throw new DamagedTableError(`chunk table: the file ends behind page ${at}`);
}

function checkPage(page: Uint8Array, at: number): void {
  const crc = u32(page, crcAt);
  // What was never written is zero, and the CRC-32 of zeros is not.
  if (crc === 0 && Buffer.compare(page, emptyPage) === 0) return;
  if (crc === crc32(page.subarray(0, crcAt)) && countOf(page) <= slotsPerPage) return;
  throw new DamagedTableError(`chunk table: page ${at} does not fit its CRC-32`);
}
