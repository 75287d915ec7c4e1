// What the kernel says of an open block device, whatever name it was opened by.

import { readFileSync } from "node:fs";

/** A file of /sys for the device number `rdev`, for example `size` (sectors), `ro` or `dm/uuid`. */
export function deviceAttribute(rdev: number, name: string): string {
  const { major, minor } = deviceNumbers(rdev);
  return readFileSync(`/sys/dev/block/${major}:${minor}/${name}`, "utf8").trim();
}

/** The two numbers in a device number, as Linux packs them into 64 bits. */
export function deviceNumbers(rdev: number): { readonly major: number; readonly minor: number } {
  return {
    major: Math.floor(rdev / 2 ** 8) % 2 ** 12,
    minor: (rdev % 2 ** 8) + (Math.floor(rdev / 2 ** 20) % 2 ** 12) * 2 ** 8,
  };
}
