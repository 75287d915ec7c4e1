// A session in its tar form, read by offset: the footer at its end says where everything lies, so nothing walks
// through the members (protocol/archive/tar-layout.ts).

import { closeSync } from "node:fs";
import { FormatError } from "../../protocol/errors.ts";
import {
  decodeOffsetRecord,
  decodeOffsetsFooter,
  footerBytes,
  footerOffset,
  offsetRecordBytes,
  type OffsetsFooter,
  tarBlockBytes,
} from "../../protocol/archive/tar-layout.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { AssembleError, reading } from "./errors.ts";
import { openRegular, readFully } from "./files.ts";
import { printable } from "./printable.ts";

export interface TarFile {
  readonly fd: number;
  readonly footer: OffsetsFooter;
  /** Fills `into` with the stored form of the chunk kept under `address`. Throws FormatError where its length is
   *  another, and undefined is the answer where the tar has no such chunk. */
  readChunk(address: ChunkAddress, into: Uint8Array): Uint8Array | undefined;
  /** Lets the descriptor go. */
  close(): void;
}

/** Records that are read at once: 64 KiB of them. */
const pageRecords = 4096;

/** Opens a tar. Throws AssembleError: `missing-file`, `truncated-tar`, `corrupt-tar`, `io`. */
export function openTar(path: string): TarFile {
  return reading("tar", printable(path), { corrupt: "corrupt-tar" }, () => {
    const { fd, size } = openRegular(path);
    try {
      const footer = readFooter(fd, size, path);
      const offsetOf = offsetFinder(fd, footer);
      const header = new Uint8Array(tarBlockBytes);
      return {
        fd,
        footer,
        readChunk: (address, into) => {
          const offset = offsetOf(address);
          if (offset === undefined) return undefined;
          if (offset < tarBlockBytes)
            throw new FormatError("bad-value", `the tar's offsets name byte ${offset}`);
          readFully(fd, header, offset - tarBlockBytes);
          const length = memberLength(header);
          if (length !== into.length) {
            throw new FormatError("bad-value", `the tar's member has ${length} bytes, wanted ${into.length}`);
          }
          readFully(fd, into, offset);
          return into;
        },
        close: () => closeSync(fd),
      };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  });
}

function readFooter(fd: number, size: number, path: string): OffsetsFooter {
  const footer = new Uint8Array(footerBytes);
  try {
    readFully(fd, footer, footerOffset(size));
    return decodeOffsetsFooter(footer, size);
  } catch (error) {
    if (!(error instanceof FormatError) || (error.code !== "truncated" && error.code !== "bad-magic"))
      throw error;
    throw new AssembleError(
      "truncated-tar",
      `tar is cut short or was never finished: ${error.message}, ${printable(path)}`,
      undefined,
      { cause: error },
    );
  }
}

/** The size that a tar header states, in octal digits; NaN where there are none. */
function memberLength(header: Uint8Array): number {
  return Number.parseInt(String.fromCharCode(...header.subarray(124, 135)), 8);
}

/** Finds a chunk's offset. Records rise by address and are mostly asked for in that order: the page at hand, then the
 *  one behind it, then a search by halves. */
function offsetFinder(fd: number, footer: OffsetsFooter): (address: ChunkAddress) => number | undefined {
  const pages = Math.ceil(footer.records / pageRecords);
  const buffer = new Uint8Array(Math.min(pageRecords, footer.records) * offsetRecordBytes);
  let page = -1;
  let count = 0;

  const load = (wanted: number): void => {
    if (wanted === page) return;
    count = Math.min(pageRecords, footer.records - wanted * pageRecords);
    page = -1;
    const at = footer.recordsOffset + wanted * pageRecords * offsetRecordBytes;
    readFully(fd, buffer.subarray(0, count * offsetRecordBytes), at);
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
