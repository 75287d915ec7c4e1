// A session in its tar form, read by offset: the footer at its end says where everything lies, so nothing walks
// through the members (protocol/archive/tar-layout.ts).

import { closeSync } from "node:fs";
import { FormatError } from "../../protocol/errors.ts";
import {
  decodeOffsetsFooter,
  footerBytes,
  footerOffset,
  type OffsetsFooter,
  tarBlockBytes,
} from "../../protocol/archive/tar-layout.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { memberSize } from "../store/tar/member-size.ts";
import { offsetFinder } from "../store/tar/offset-finder.ts";
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

/** Opens a tar. Throws AssembleError: `missing-file`, `truncated-tar`, `corrupt-tar`, `io`. */
export function openTar(path: string): TarFile {
  return reading("tar", printable(path), { corrupt: "corrupt-tar" }, () => {
    const { fd, size } = openRegular(path);
    try {
      const footer = readFooter(fd, size, path);
      const offsetOf = offsetFinder(footer, (into, offset) => readFully(fd, into, offset));
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
          const length = memberSize(header);
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
