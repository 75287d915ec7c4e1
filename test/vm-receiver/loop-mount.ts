// A small real file system in an image file, on a loop device, mounted somewhere of its own. Needs root; a test that
// can't have it says why it was skipped.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../support/temp-dir.ts";

export interface LoopMount extends Disposable {
  readonly path: string;
  /** Runs a command, all output thrown away; throws when it fails. */
  run(command: string, ...args: readonly string[]): void;
}

/** Why there can be no loop mounts here; undefined when there can. */
export const noLoopMounts: string | undefined =
  process.getuid?.() !== 0
    ? "needs root, to mount file systems"
    : spawnSync("losetup", ["-f"]).status === 0
      ? undefined
      : "needs a free loop device";

/** Why a file system of this type can't be mounted here; undefined when it can. */
export function cannotMount(type: string): string | undefined {
  if (noLoopMounts !== undefined) return noLoopMounts;
  spawnSync("modprobe", ["-q", type]);
  const known = readFileSync("/proc/filesystems", "utf8").split(/\s+/).includes(type);
  return known ? undefined : `this kernel has no ${type}`;
}

/** Makes a file system of `size` bytes with `mkfs.TYPE ARGS` and mounts it. Disposing unmounts and removes it. */
export function loopMount(type: string, size: number, args: readonly string[] = [], options = ""): LoopMount {
  const directory = tempDir();
  const image = join(directory.path, "image");
  const path = join(directory.path, "mounted here");
  const run = (command: string, ...rest: readonly string[]): void => {
    execFileSync(command, rest, { stdio: ["ignore", "ignore", "pipe"] });
  };
  writeFileSync(image, "");
  truncateSync(image, size);
  mkdirSync(path);
  try {
    run(`mkfs.${type}`, ...args, image);
    run("mount", "-t", type, "-o", `loop${options === "" ? "" : `,${options}`}`, image, path);
  } catch (error) {
    directory[Symbol.dispose]();
    throw error;
  }
  return {
    path,
    run,
    [Symbol.dispose]: () => {
      // Whatever a test has stacked there, or has unmounted itself. Lazily unmounted ones free their loop device
      // when the last process lets go of them.
      while (spawnSync("umount", [path]).status === 0);
      directory[Symbol.dispose]();
    },
  };
}
