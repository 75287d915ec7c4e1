// Temporary files of a restore.

import { closeSync, fstatSync, readSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { makeDirectory, writeAll } from "../state/atomic-file.ts";
import { openNameless } from "../state/nameless-file.ts";

export interface NamelessFile extends Disposable {
  readonly fd: number;
  /** Bytes. */
  length(): number;
  append(bytes: Uint8Array): void;
  /** Fills `into` from `position` on. Throws RangeError where the file ends before. */
  read(into: Uint8Array, position: number): void;
}

/** An empty file in `directory`, which is made if it is not there. */
export function namelessFile(directory: string): NamelessFile {
  makeDirectory(directory);
  const fd = openNameless(join(directory, `.restore-${randomBytes(8).toString("hex")}`));
  let open = true;
  return {
    fd,
    length: () => fstatSync(fd).size,
    append: (bytes) => writeAll(fd, bytes),
    read: (into, position) => readExactly(fd, into, position),
    [Symbol.dispose]: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

/** Fills `into` from `position` of `fd` on. Throws RangeError where it ends before. */
export function readExactly(fd: number, into: Uint8Array, position: number): void {
  for (let done = 0; done < into.length;) {
    const got = readSync(fd, into, done, into.length - done, position + done);
    if (got === 0) throw new RangeError(`read at ${position}: found the end at ${position + done}`);
    done += got;
  }
}
