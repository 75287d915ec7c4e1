// Which image files `--all` takes: all *.img below the local path, but what Qubes keeps beside a volume for itself.

import { type Dirent, readdirSync } from "node:fs";
import { join } from "node:path";
import { isVolumeName } from "../../../protocol/archive/names.ts";
import { StorageError } from "../storage.ts";

/** A local path is a tree of images, not a whole system: beyond these something is wrong. */
const maxDepth = 8;
const maxEntries = 100_000;

/** Working copies of a running VM, what is thrown away when it stops, an import under way; the VMs' kernels. */
const notWorth = /(?:^vm-kernels\/)|(?:-(?:dirty|precache|import|cow)|(?:^|\/)volatile)\.img$/;

/** Relative paths, sorted; links are not followed. Throws StorageError `unusable` when there is too much. */
export function findImages(root: string): readonly string[] {
  const found: string[] = [];
  let entries = 0;
  const walk = (directory: string, depth: number): void => {
    for (const entry of list(root, directory)) {
      if (++entries > maxEntries) {
        throw new StorageError(
          "unusable",
          `look for images below ${root}: found more than ${maxEntries} names`,
        );
      }
      const name = directory === "" ? entry.name : `${directory}/${entry.name}`;
      if (entry.isDirectory() && depth < maxDepth) walk(name, depth + 1);
      else if (entry.isFile() && name.endsWith(".img") && !notWorth.test(name) && isVolumeName(name))
        found.push(name);
    }
  };
  walk("", 1);
  return found.sort();
}

/** A directory that is gone or closed to us holds no images of ours; the local path itself must be readable. */
function list(root: string, directory: string): readonly Dirent[] {
  try {
    return readdirSync(join(root, directory), { withFileTypes: true });
  } catch (error) {
    if (directory !== "") return [];
    throw new StorageError("unusable", `look for images below ${root}: ${(error as Error).message}`);
  }
}
