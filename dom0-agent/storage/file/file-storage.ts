// Image files on any file system, as they are: no snapshots and no deltas, so a send reads what is no hole and sends
// what differs from the last session. A file that changes while it is read is refused, for a torn image is no backup.
// Needs no root, only the right to read the files.

import { closeSync, constants, fstatSync, openSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { isVolumeName } from "../../../protocol/archive/names.ts";
import { InternalError } from "../../../protocol/errors.ts";
import {
  type OpenVolume,
  type Storage,
  StorageError,
  type StorageOptions,
  type Survey,
  type VolumeState,
} from "../storage.ts";
import { mappedExtents } from "./image-map.ts";

/** Files that `--all` finds, at most. */
const maxFiles = 10_000;

/** The images below `localPath`. Throws StorageError when that is no directory. */
export async function fileStorage(
  settings: { readonly localPath: string },
  options: StorageOptions,
): Promise<Storage> {
  const root = realRoot(settings.localPath);

  const survey = async (names: readonly string[], { all = false } = {}): Promise<Survey> => {
    const wanted = all ? [...new Set([...names, ...imagesBelow(root)])] : names;
    const volumes = new Map<string, VolumeState>();
    const unusable = new Map<string, string>();
    for (const name of wanted) {
      try {
        volumes.set(name, stateOf(root, name));
      } catch (error) {
        if (error instanceof StorageError && error.code === "unusable") unusable.set(name, error.message);
        else if (!(error instanceof StorageError)) throw error;
      }
    }
    const { dev, blksize } = statSync(root, { bigint: true });
    const pool = {
      uuid: `device-${dev}`,
      chunkSize: Number(blksize),
      dataPercent: undefined,
      metadataPercent: undefined,
    };
    return { pool, volumes, snapshots: [], unusable };
  };
  const noSnapshots = (): never => {
    throw new InternalError("image files have no snapshots");
  };

  return {
    capabilities: { snapshots: false, delta: false },
    survey,
    createSnapshots: async () => noSnapshots(),
    relabelSnapshots: async () => noSnapshots(),
    dropSnapshots: async () => noSnapshots(),
    withMetadata: async () => noSnapshots(),
    openSnapshot: async () => noSnapshots(),
    openVolume: async (volume) => openImage(root, volume),
    mappedOf: (volume) => mappedExtents(join(root, volume.name), volume.size, options.signal),
    recover: async () => undefined,
  };
}

function realRoot(path: string): string {
  try {
    const root = realpathSync(path);
    if (statSync(root).isDirectory()) return root;
  } catch (error) {
    throw new StorageError("unusable", `localpath ${path}: ${(error as Error).message}`);
  }
  throw new StorageError("unusable", `localpath ${path}: found something else, wanted a directory`);
}

/** Opens an image for reading; a symlink may not lead out of the local path. */
function openBelow(root: string, name: string): number {
  const path = join(root, name);
  try {
    const real = realpathSync(path);
    const below = relative(root, real);
    if (below.startsWith(`..${sep}`) || below === ".." || below.startsWith(sep)) {
      throw new StorageError("unusable", `${name}: it leads outside of ${root}`);
    }
    return openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof StorageError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new StorageError("gone", `${name}: there is no such file below ${root}`);
    throw new StorageError("unusable", `${name}: ${message}`);
  }
}

interface Stamp {
  readonly uuid: string;
  readonly size: number;
  readonly modified: string;
}

function stampOf(fd: number, name: string): Stamp {
  const stat = fstatSync(fd, { bigint: true });
  if (!stat.isFile())
    throw new StorageError("unusable", `${name}: found something else, wanted a regular file`);
  return {
    uuid: `${stat.dev}-${stat.ino}`,
    size: Number(stat.size),
    modified: `${stat.mtimeNs} ${stat.ctimeNs}`,
  };
}

function stateOf(root: string, name: string): VolumeState {
  const fd = openBelow(root, name);
  try {
    const { uuid, size } = stampOf(fd, name);
    return { name, uuid, size, running: false };
  } finally {
    closeSync(fd);
  }
}

async function openImage(root: string, volume: VolumeState): Promise<OpenVolume> {
  const fd = openBelow(root, volume.name);
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    const before = stampOf(fd, volume.name);
    const changed = (what: string): StorageError =>
      new StorageError(
        "changed",
        `${volume.name}: ${what} while it was read; what was read is no backup and was not kept`,
        "stop what writes to it, or keep the images on Btrfs, XFS or LVM thin",
      );
    if (before.uuid !== volume.uuid || before.size !== volume.size)
      throw changed("it was replaced or resized");
    return {
      fd,
      size: before.size,
      checkUnchanged: async () => {
        const after = stampOf(fd, volume.name);
        if (after.size !== before.size || after.modified !== before.modified) throw changed("it changed");
        if (stateOf(root, volume.name).uuid !== before.uuid) throw changed("it was replaced");
      },
      [Symbol.asyncDispose]: async () => close(),
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** `*.img` files below `root`, by their relative paths. */
function imagesBelow(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".img"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter(isVolumeName)
    .sort()
    .slice(0, maxFiles);
}
