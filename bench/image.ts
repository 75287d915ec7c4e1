// Disk images for measuring and showing: always the same for the same seed, with stretches that compress well, some,
// and not at all, and holes between them.

import { createCipheriv } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";

export interface ImageOptions {
  /** Bytes of the image, and of the data in it. */
  readonly size: number;
  readonly dataBytes: number;
  readonly seed: number;
}

const block = 64 * 1024;

/** Repeatable randomness: AES in counter mode under the seed. */
export function randomBytesOf(seed: number): (count: number) => Buffer {
  const key = Buffer.alloc(16);
  key.writeUInt32BE(seed >>> 0);
  const stream = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  return (count) => stream.update(Buffer.alloc(count));
}

/** A whole number from 0 up to, not including, `below`. */
function pick(random: (count: number) => Buffer, below: number): number {
  return random(6).readUIntBE(0, 6) % below;
}

/** Makes a sparse image: data in stretches of 64 KiB to 4 MiB, scattered over its whole length. */
export function makeImage(path: string, options: ImageOptions): void {
  const random = randomBytesOf(options.seed);
  const fd = openSync(path, "w");
  ftruncateSync(fd, options.size);
  const stretches = Math.ceil(options.dataBytes / (2 * 1024 * 1024));
  const slot = Math.floor(options.size / stretches / block) * block;
  let left = options.dataBytes;
  for (let i = 0; i < stretches && left > 0; i++) {
    // The last stretches take what is left, so that the amount is exact.
    const wanted =
      i === stretches - 1 ? left : Math.ceil((0.5 + pick(random, 1000) / 1000) * (left / (stretches - i)));
    const length = Math.min(left, Math.ceil(wanted / block) * block, slot);
    const start = i * slot + pick(random, Math.floor((slot - length) / block) + 1) * block;
    for (let done = 0; done < length; done += block) {
      writeSync(fd, content(random), 0, Math.min(block, length - done), start + done);
    }
    left -= length;
  }
  closeSync(fd);
}

/** Rewrites `bytes` of an image in scattered blocks of 4 to 256 KiB: what a day's work does to a disk. */
export function changeImage(path: string, bytes: number, seed: number, size: number): void {
  const random = randomBytesOf(seed);
  const fd = openSync(path, "r+");
  for (let left = bytes; left > 0;) {
    const length = Math.min(left, 4096 << pick(random, 7));
    const start = Math.min(pick(random, Math.floor(size / 4096)) * 4096, size - length);
    writeSync(fd, content(random, length), 0, length, start);
    left -= length;
  }
  closeSync(fd);
}

const letters = Buffer.from("etaoin shrdlu\n.,");

/** A third each: noise; letters, which compress to a half; and records that are mostly the same. */
function content(random: (count: number) => Buffer, length: number = block): Buffer {
  const bytes = random(length);
  const kind = pick(random, 3);
  if (kind === 1) for (let i = 0; i < length; i++) bytes[i] = letters[(bytes[i] ?? 0) & 15] ?? 0;
  if (kind === 2) for (let i = 0; i < length; i++) if ((i & 63) > 12) bytes[i] = i & 63;
  return bytes;
}
