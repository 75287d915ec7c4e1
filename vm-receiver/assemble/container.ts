// Reads stored chunks out of the containers they lie in, whichever form those have. A few tars stay open, the ones
// used last.

import { closeSync } from "node:fs";
import { FormatError } from "../../protocol/errors.ts";
import { chunkPath } from "../../protocol/archive/names.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { systemCode } from "./errors.ts";
import { type OpenFile, openRegular, readFully } from "./files.ts";
import type { Place } from "./places.ts";
import { openTar, type TarFile } from "./tar-file.ts";

export interface ContainerReader {
  /** Fills `into` with the stored form of the chunk kept under `address` and gives it back, or undefined where there
   *  is no such chunk. Its length must be just that of `into`: FormatError where it is not. */
  read(place: Place, address: ChunkAddress, into: Uint8Array): Uint8Array | undefined;
  /** The file that the chunk is in, or would be, for messages. */
  pathOf(place: Place, address: ChunkAddress): string;
  close(): void;
}

const maxOpenTars = 16;

/** A reader that keeps at most 16 tars open. */
export function containerReader(): ContainerReader {
  /** By path; the one used last is last. */
  const tars = new Map<string, TarFile>();

  const tarAt = (path: string): TarFile => {
    const known = tars.get(path);
    if (known !== undefined) {
      tars.delete(path);
      tars.set(path, known);
      return known;
    }
    const opened = openTar(path);
    tars.set(path, opened);
    const [oldest] = tars;
    if (tars.size > maxOpenTars && oldest !== undefined) {
      tars.delete(oldest[0]);
      oldest[1].close();
    }
    return opened;
  };

  return {
    read: (place, address, into) => {
      if (place.form === "dir") return readChunkFile(chunkFile(place, address), into);
      return tarAt(place.path).readChunk(address, into);
    },
    pathOf: (place, address) => {
      if (place.form === "dir") return chunkFile(place, address);
      const { group, file } = chunkPath(address);
      return `${place.path}, member ${place.session}/${group}/${file}`;
    },
    close: () => {
      for (const each of tars.values()) each.close();
      tars.clear();
    },
  };
}

function chunkFile(place: Place, address: ChunkAddress): string {
  const { group, file } = chunkPath(address);
  return `${place.path}/${group}/${file}`;
}

function readChunkFile(path: string, into: Uint8Array): Uint8Array | undefined {
  let file: OpenFile;
  try {
    file = openRegular(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
  const { fd, size } = file;
  try {
    if (size !== into.length) {
      throw new FormatError("bad-value", `its file has ${size} bytes, wanted ${into.length}`);
    }
    readFully(fd, into, 0);
    return into;
  } finally {
    closeSync(fd);
  }
}
