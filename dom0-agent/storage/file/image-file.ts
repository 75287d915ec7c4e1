// One image file, opened so that it is below the local path whatever names and links say, and watched: a file that
// changes while it is read is refused, for a torn image is no backup.

import { closeSync, constants, fstatSync, fsyncSync, openSync, readlinkSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isVolumeName } from "../../../protocol/archive/names.ts";
import { type OpenVolume, StorageError, type VolumeState } from "../storage.ts";

/** An image that is open for reading; the descriptor is closed with it. */
export interface ImageFile extends Disposable {
  readonly fd: number;
  readonly state: VolumeState;
}

/**
 * Opens the image `name` below the directory `root`, a real path. Links may lead anywhere below it. Throws
 * StorageError: `gone` when there is none, `unusable` for what is no regular file, lies elsewhere or can't be read.
 */
export function openImage(root: string, name: string): ImageFile {
  const unusable = (why: string, hint?: string): StorageError =>
    new StorageError("unusable", `${name}: ${why}`, hint);
  if (!isVolumeName(name)) throw unusable("that can't be the name of an image file");
  let fd: number;
  try {
    // O_NONBLOCK: a pipe in an image's place must not hold us up.
    fd = openSync(join(root, name), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new StorageError("gone", `${name}: there is no such file below ${root}`);
    throw unusable(
      message,
      code === "EACCES" ? "image files must be readable for the user that runs this" : undefined,
    );
  }
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    // Asked of the open file: a path could lead elsewhere a moment later.
    const real = readlinkSync(`/proc/self/fd/${fd}`);
    if (!real.startsWith(root === "/" ? root : `${root}/`)) throw unusable(`it leads out of ${root}`);
    const { isFile, uuid, size } = stampOf(fd);
    if (!isFile) throw unusable("found something else, wanted a regular file");
    return { fd, state: { name, uuid, size, crash: false }, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

interface Stamp {
  readonly isFile: boolean;
  /** Device and inode. */
  readonly uuid: string;
  /** Bytes. */
  readonly size: number;
  /** Nanoseconds since 1970. */
  readonly changedAt: bigint;
  readonly modifiedAt: bigint;
}

function stampOf(fd: number): Stamp {
  const stat = fstatSync(fd, { bigint: true });
  return {
    isFile: stat.isFile(),
    uuid: `${stat.dev}-${stat.ino}`,
    size: Number(stat.size),
    changedAt: stat.ctimeNs,
    modifiedAt: stat.mtimeNs,
  };
}

/** Opens the image that `volume` describes. Throws StorageError `changed` when it is another one by now. */
export async function openUnchanging(root: string, volume: VolumeState): Promise<OpenVolume> {
  const image = openImage(root, volume.name);
  try {
    if (image.state.uuid !== volume.uuid || image.state.size !== volume.size) {
      throw changed(volume.name, "it was replaced or resized");
    }
    // What programs have mapped and changed gets its time stamp only when it is written out.
    fsyncSync(image.fd);
    const before = await settledStamp(image.fd);
    return {
      fd: image.fd,
      size: volume.size,
      checkUnchanged: async () => {
        fsyncSync(image.fd);
        const after = stampOf(image.fd);
        const same =
          after.size === before.size &&
          after.changedAt === before.changedAt &&
          after.modifiedAt === before.modifiedAt;
        if (!same || before.size !== volume.size) throw changed(volume.name, "it changed");
        using now = openImage(root, volume.name);
        if (now.state.uuid !== volume.uuid) throw changed(volume.name, "it was replaced");
      },
      [Symbol.asyncDispose]: async () => image[Symbol.dispose](),
    };
  } catch (error) {
    image[Symbol.dispose]();
    throw error;
  }
}

/** ext2 to ext4, XFS, Btrfs, tmpfs: their time stamps are as fine as the kernel's clock tick. */
const fineStamps = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994]);

/**
 * The file's stamp, once it is old enough that a later write can't leave the same one: a clock tick for the file
 * systems that we know, two seconds for others, as FAT counts.
 */
async function settledStamp(fd: number): Promise<Stamp> {
  const granularityMs = fineStamps.has(statfsSync(`/proc/self/fd/${fd}`).type) ? 20 : 2000;
  const { changedAt, modifiedAt } = stampOf(fd);
  const newest = Number((changedAt > modifiedAt ? changedAt : modifiedAt) / 1_000_000n);
  const age = Date.now() - newest;
  if (age >= 0 && age < granularityMs) await sleep(granularityMs - age + 1);
  return stampOf(fd);
}

function changed(name: string, what: string): StorageError {
  return new StorageError(
    "changed",
    `${name}: ${what} while it was read; what was read is no backup and was not kept`,
    "stop what writes to it, or keep the images on LVM thin, where snapshots are taken",
  );
}
