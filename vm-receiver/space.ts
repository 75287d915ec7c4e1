// What is free on a file system.

import { statfsSync } from "node:fs";

/** Free and total, in bytes and inodes; a total of 0 means that the file system does not say. */
export interface Space {
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeInodes: number;
  readonly totalInodes: number;
}

/** Of the file system that an open file or directory is on. */
export function spaceOf(fd: number): Space {
  const { bsize, blocks, bavail, files, ffree } = statfsSync(`/proc/self/fd/${fd}`);
  return {
    freeBytes: safe(bsize * bavail),
    totalBytes: safe(bsize * blocks),
    freeInodes: files === 0 ? 0 : safe(ffree),
    totalInodes: safe(files),
  };
}

/** Network file systems give absurd numbers; the wire ends at 2^53−1. */
function safe(value: number): number {
  return Math.min(Math.max(Math.trunc(value), 0), Number.MAX_SAFE_INTEGER);
}
