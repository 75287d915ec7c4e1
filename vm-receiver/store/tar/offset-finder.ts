// Finds chunks in a tar by its last member. Records rise by address and are mostly asked for in that order: the page at
// hand, then the one behind it, then a search by halves.

import {
  decodeOffsetRecord,
  offsetRecordBytes,
  type OffsetsFooter,
} from "../../../protocol/archive/tar-layout.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";

/** Records that are read at once: 64 KiB of them. */
const pageRecords = 4096;

/** Gives the offset of a chunk's data, or undefined where the tar has no such chunk. `read` fills an array from a byte of
 *  the tar on, and throws where it ends before. */
export function offsetFinder(
  footer: OffsetsFooter,
  read: (into: Uint8Array, offset: number) => void,
): (address: ChunkAddress) => number | undefined {
  const pages = Math.ceil(footer.records / pageRecords);
  const buffer = new Uint8Array(Math.min(pageRecords, footer.records) * offsetRecordBytes);
  let page = -1;
  let count = 0;

  const load = (wanted: number): void => {
    if (wanted === page) return;
    count = Math.min(pageRecords, footer.records - wanted * pageRecords);
    page = -1;
    const at = footer.recordsOffset + wanted * pageRecords * offsetRecordBytes;
    read(buffer.subarray(0, count * offsetRecordBytes), at);
    page = wanted;
  };
  const addressAt = (i: number): number => decodeOffsetRecord(buffer, i * offsetRecordBytes).address;
  /** Below, within or above the page at hand. */
  const side = (address: number): -1 | 0 | 1 => {
    if (address < addressAt(0)) return -1;
    return address > addressAt(count - 1) ? 1 : 0;
  };
  const inPage = (address: number): number | undefined => {
    let [low, high] = [0, count - 1];
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const record = decodeOffsetRecord(buffer, middle * offsetRecordBytes);
      if (record.address === address) return record.offset;
      if (record.address < address) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  };

  return (address) => {
    if (pages === 0) return undefined;
    load(page === -1 ? 0 : page);
    if (side(address) === 0) return inPage(address);
    if (side(address) === 1 && page + 1 < pages) {
      load(page + 1);
      if (side(address) === 0) return inPage(address);
    }
    let [low, high] = [0, pages - 1];
    while (low <= high) {
      const middle = (low + high) >>> 1;
      load(middle);
      const found = side(address);
      if (found === 0) return inPage(address);
      if (found === 1) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  };
}
