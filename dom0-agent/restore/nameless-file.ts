// Temporary files of a restore.

import { closeSync, fstatSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { openNameless } from "../state/nameless-file.ts";
import { readFully } from "../read-fully.ts";
import { makeDirectory, writeAll } from "../state/writing.ts";

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
    read: (into, position) => readFully(fd, into, position, "a file of our own"),
    [Symbol.dispose]: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
