// What the kernel says of an open block device, whatever name it was opened by.

import { readFileSync } from "node:fs";

/** A file of /sys for the device number `rdev`, for example `size` (sectors), `ro` or `dm/uuid`. */
export function deviceAttribute(rdev: number, name: string): string {
  return readFileSync(`/sys/dev/block/${major(rdev)}:${minor(rdev)}/${name}`, "utf8").trim();
}

/** Of a device number as Linux packs it into 64 bits. */
function major(rdev: number): number {
  return Math.floor(rdev / 2 ** 8) % 2 ** 12;
}

function minor(rdev: number): number {
  return (rdev % 2 ** 8) + (Math.floor(rdev / 2 ** 20) % 2 ** 12) * 2 ** 8;
}
