// Addresses of chunks, any number of them, in little memory: a bit for each 64 KiB of the addresses, in pages. A terabyte
// takes two megabytes, where a Set would take a gigabyte, and end at sixteen million.

import { type ChunkAddress, minChunkSize } from "../../protocol/archive/types.ts";

export interface AddressSet extends Iterable<ChunkAddress> {
  readonly size: number;
  has(address: ChunkAddress): boolean;
  add(address: ChunkAddress): void;
  /** Rising. */
  [Symbol.iterator](): Generator<ChunkAddress, void, undefined>;
}

const pageBytes = 8192;
const pageBits = pageBytes * 8;

export function addressSet(addresses: Iterable<ChunkAddress> = []): AddressSet {
  const pages = new Map<number, Uint8Array>();
  let size = 0;
  const placeOf = (address: ChunkAddress): { page: number; byte: number; mask: number } => {
    const number = address / minChunkSize;
    const bit = number % pageBits;
    return { page: Math.floor(number / pageBits), byte: bit >> 3, mask: 1 << (bit & 7) };
  };
  const set: AddressSet = {
    get size() {
      return size;
    },
    has: (address) => {
      const { page, byte, mask } = placeOf(address);
      return ((pages.get(page)?.[byte] ?? 0) & mask) !== 0;
    },
    add: (address) => {
      const { page, byte, mask } = placeOf(address);
      const bits = pages.get(page) ?? new Uint8Array(pageBytes);
      const before = bits[byte] ?? 0;
      if ((before & mask) !== 0) return;
      bits[byte] = before | mask;
      pages.set(page, bits);
      size++;
    },
    *[Symbol.iterator]() {
      for (const page of [...pages.keys()].sort((a, b) => a - b)) {
        for (const [byte, bits] of pages.get(page)?.entries() ?? []) {
          for (let bit = 0; bits >> bit > 0; bit++)
            if (((bits >> bit) & 1) === 1)
              yield ((page * pageBits + byte * 8 + bit) * minChunkSize) as ChunkAddress;
        }
      }
    },
  };
  for (const each of addresses) set.add(each);
  return set;
}
