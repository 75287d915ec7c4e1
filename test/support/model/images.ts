// What a day does to an image file, by chance: writes, copies out of another image, discards, growth and shrinking.

import { spawnSync } from "node:child_process";
import { closeSync, copyFileSync, openSync, readFileSync, statSync, truncateSync, writeSync } from "node:fs";
import { changeImage, makeImage } from "../../../bench/image.ts";
import type { Random } from "../../fuzz/random.ts";

const kib = 1024;
const mib = 1024 * kib;
const chunk = 64 * kib;

/** 1 to 3 MiB, and not always whole chunks, nor sectors. */
export function someSize(random: Random): number {
  return mib + random.below(32) * chunk + random.pick([0, 0, 512, 1000]);
}

export function newImage(path: string, random: Random): void {
  const size = someSize(random);
  makeImage(path, { size, dataBytes: Math.floor(size / 2), seed: random.below(2 ** 31) });
}

/** Changes the image at `path`; `other` is one to take chunks from. Gives what was done. */
export function changeAtRandom(path: string, other: string, random: Random): string {
  const { size } = statSync(path);
  const offset = random.below(Math.floor(size / 4096)) * 4096;
  const how = random.pick(["write", "write", "copy", "discard", "resize", "clone"] as const);
  switch (how) {
    case "write":
      changeImage(path, random.pick([4, 64, 300]) * kib, random.below(2 ** 31), size);
      break;
    case "copy": {
      const bytes = readFileSync(other);
      const from = random.below(Math.floor(bytes.length / chunk)) * chunk;
      const fd = openSync(path, "r+");
      const at = Math.min(offset, size - chunk) & -chunk;
      writeSync(fd, bytes, from, Math.min(4 * chunk, bytes.length - from, size - at), at);
      closeSync(fd);
      break;
    }
    case "discard": {
      const length = Math.min(size - offset, (1 + random.below(100)) * 4096);
      const done = spawnSync("fallocate", ["-p", "-o", String(offset), "-l", String(length), path]);
      if (done.status !== 0) throw new Error(`fallocate: ${done.stderr.toString()}`);
      break;
    }
    case "resize":
      truncateSync(path, someSize(random));
      break;
    case "clone":
      copyFileSync(other, path);
      break;
  }
  return how;
}
