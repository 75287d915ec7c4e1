// Chunks of a session in tar form, found by its offsets.

import { readSync } from "node:fs";
import { tarBlockBytes } from "../../../protocol/archive/tar-layout.ts";
import { FormatError } from "../../../protocol/errors.ts";
import type { StoredChunks } from "../stored-chunks.ts";
import { memberSize } from "./member-size.ts";
import { offsetFinder } from "./offset-finder.ts";
import type { OpenTar } from "./tar-reader.ts";

/** The chunks in a tar, whose file is then owned. */
export function tarChunks({ file, footer }: OpenTar): StoredChunks {
  const header = new Uint8Array(tarBlockBytes);
  const read = (into: Uint8Array, offset: number): void => {
    for (let done = 0; done < into.length;) {
      const count = readSync(file.fd, into, done, into.length - done, offset + done);
      if (count === 0) throw new FormatError("truncated", "the tar ends inside a member");
      done += count;
    }
  };
  const offsetOf = offsetFinder(footer, read);

  return {
    read: (address, into) => {
      const offset = offsetOf(address);
      if (offset === undefined) return undefined;
      if (offset < tarBlockBytes || offset > file.length)
        throw new FormatError("bad-value", `the tar's offsets name byte ${offset}`);
      read(header, offset - tarBlockBytes);
      const size = memberSize(header);
      if (!(size <= file.length - offset))
        throw new FormatError("bad-value", "a tar member without its header");
      if (size <= into.length) read(into.subarray(0, size), offset);
      return size;
    },
    [Symbol.dispose]: () => file[Symbol.dispose](),
  };
}
