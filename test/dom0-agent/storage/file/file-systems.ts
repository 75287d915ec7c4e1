// The file systems that image files are tested on: loop-mounted images of our own, and a tmpfs.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface FileSystem {
  readonly title: string;
  /** It tells where a file has data; without, all of it counts. */
  readonly tellsExtents: boolean;
  readonly mount: (directory: string) => void;
}

export interface Mounted extends Disposable {
  readonly directory: string;
}

export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

const loop =
  (...mkfs: readonly string[]) =>
  (directory: string): void => {
    const image = `${directory}.disk`;
    writeFileSync(image, "");
    truncateSync(image, 512 * 1024 ** 2);
    run(mkfs[0] ?? "", ...mkfs.slice(1), image);
    run("mount", "-o", "loop", image, directory);
  };

export const fileSystems: readonly FileSystem[] = [
  { title: "ext4", tellsExtents: true, mount: loop("mkfs.ext4", "-q", "-F") },
  {
    title: "ext4 with inline data",
    tellsExtents: true,
    mount: loop("mkfs.ext4", "-q", "-F", "-O", "inline_data", "-I", "256"),
  },
  {
    title: "ext2, which has no extents of its own",
    tellsExtents: true,
    mount: loop("mkfs.ext4", "-q", "-F", "-O", "^extents,^64bit,^has_journal"),
  },
  { title: "xfs", tellsExtents: true, mount: loop("mkfs.xfs", "-q") },
  { title: "btrfs", tellsExtents: true, mount: loop("mkfs.btrfs", "-q") },
  {
    title: "btrfs, compressed",
    tellsExtents: true,
    mount: (directory) => {
      loop("mkfs.btrfs", "-q")(directory);
      run("mount", "-o", "remount,compress-force=zstd", directory);
    },
  },
  {
    title: "tmpfs, which tells no extents",
    tellsExtents: false,
    mount: (directory) => void run("mount", "-t", "tmpfs", "none", directory),
  },
];

/** Mounts it below the temporary directory; unmounts and removes it in the end. */
export function mounted(fileSystem: FileSystem): Mounted {
  const directory = mkdtempSync(join(tmpdir(), "sparsebak-fs-"));
  const remove = (): void => {
    rmSync(directory, { recursive: true, force: true });
    rmSync(`${directory}.disk`, { force: true });
  };
  try {
    fileSystem.mount(directory);
  } catch (error) {
    remove();
    throw error;
  }
  return {
    directory,
    [Symbol.dispose]: () => {
      run("umount", directory);
      remove();
    },
  };
}
