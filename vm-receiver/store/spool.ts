// A file that grows by small records: they are gathered in memory and written a stretch at a time, so that a record a
// chunk costs no system call a chunk, and memory does not grow with the session.

import { closeSync, fdatasync } from "node:fs";
import { promisify } from "node:util";
import type { Directory } from "../directory.ts";
import { createFile, writeAll } from "../files.ts";

const syncData = promisify(fdatasync);
const bufferBytes = 64 * 1024;

export interface Spool extends Disposable {
  readonly fd: number;
  append(bytes: Uint8Array): void;
  /** Hands what is gathered to the system. */
  flush(): void;
  /** Flushes, and makes it last. */
  sync(): Promise<void>;
}

/** Creates `name`, which must not exist, readable and writable. */
export function createSpool(directory: Directory, name: string): Spool {
  const fd = createFile(directory, name, true);
  const buffer = new Uint8Array(bufferBytes);
  let held = 0;
  let open = true;
  const flush = (): void => {
    writeAll(fd, buffer.subarray(0, held));
    held = 0;
  };
  return {
    fd,
    append: (bytes) => {
      if (held + bytes.length > buffer.length) flush();
      if (bytes.length > buffer.length) return writeAll(fd, bytes);
      buffer.set(bytes, held);
      held += bytes.length;
    },
    flush,
    sync: async () => {
      flush();
      await syncData(fd);
    },
    [Symbol.dispose]: () => {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
