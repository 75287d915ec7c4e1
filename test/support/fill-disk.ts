// A full disk.

import { appendFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Fills the file system of `directory` but for so many KiB, with a file in it that is removed at the end. */
export function fillDisk(directory: string, leftKib: number): Disposable {
  const filler = join(directory, "filler");
  writeFileSync(filler, "");
  for (const blockKib of [64, 1]) {
    const block = Buffer.alloc(blockKib * 1024);
    while (appended(filler, block));
  }
  truncateSync(filler, statSync(filler).size - leftKib * 1024);
  return { [Symbol.dispose]: () => rmSync(filler, { force: true }) };
}

/** False where there is no room for it. */
function appended(path: string, block: Uint8Array): boolean {
  try {
    appendFileSync(path, block, { flush: true });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") return false;
    throw error;
  }
}
