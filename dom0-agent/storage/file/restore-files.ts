// RestoreStorage of image files: a new file beside the old one, called .NAME.sparsebak-restore, which takes its name when
// it is complete. The old one is kept as NAME.old-XXXXXXXX.

import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { isVolumeName } from "../../../protocol/archive/names.ts";
import { removeFile, syncDirectory } from "../../state/atomic-file.ts";
import { field, readRecord, writeRecord } from "../../state/record.ts";
import type { Kept } from "../../state/kept.ts";
import type { RestoreStorage, RestoreTarget, TargetRequest } from "../restore-target.ts";
import { StorageError } from "../storage.ts";
import { userOf } from "./file-users.ts";

const suffix = ".sparsebak-restore";
const keptPattern = /\.old-[0-9a-f]{8,}$/;
/** Bytes of a file system's blocks: what a hole is at least. */
const pieceSize = 4096;

/** Restores to the images below the directory `root`, a real path. What is being made is written down in the state, so
 *  that what a killed run leaves is found. */
export function fileRestore(root: string, stateDirectory: string): RestoreStorage {
  const word = join(stateDirectory, "restoring");
  return {
    settle: async () => {
      settleFile(readRecord(word, asRestoring));
      removeFile(word);
      return [];
    },
    createTarget: async (request) => createTarget(root, request, word),
    openInPlace: async (request) => openInPlace(root, request),
    checkRoom: async (needs) => refuseTooSmall(root, root, needs(pieceSize)),
    dropKept: async ({ volume, name, uuid }) => {
      const path = join(root, name);
      const stat = statIfThere(path);
      if (stat === undefined) return "gone";
      if (!isSameFile(stat, uuid) || !keptPattern.test(name)) return "unrecognised";
      if (statIfThere(join(root, volume)) === undefined) return "last";
      rmSync(path);
      syncDirectory(dirname(path));
      return "removed";
    },
  };
}

/** What a restore has written down. */
interface Restoring {
  /** The file that is being made. */
  readonly path: string;
  /** Once the old image is to be put aside: its name, and its name then. */
  readonly aside?: { readonly target: string; readonly keptPath: string };
}

/** The new file that is to become `path`. */
function temporaryOf(path: string): string {
  return join(dirname(path), `.${basename(path)}${suffix}`);
}

function asRestoring(value: Record<string, unknown>): Restoring {
  const path = field.text(value, "path");
  if (value["target"] === undefined) return { path };
  return { path, aside: { target: field.text(value, "target"), keptPath: field.text(value, "keptPath") } };
}

/** Where a restore died between two renames, the old image gets its name back before what was made goes. */
function settleFile(left: Restoring | undefined): void {
  if (left?.path.endsWith(suffix) !== true || !existsSync(left.path)) return;
  if (left.aside !== undefined) putBack(left.aside.target, left.aside.keptPath);
  rmSync(left.path);
}

/** Gives an old image that was put aside its name back, where nothing has it. */
function putBack(target: string, keptPath: string): void {
  if (existsSync(target) || !existsSync(keptPath)) return;
  renameSync(keptPath, target);
  syncDirectory(dirname(target));
}

function createTarget(root: string, { volume, size, needs }: TargetRequest, word: string): RestoreTarget {
  const path = pathOf(root, volume);
  const old = replaceable(path, volume);
  const left = leftover(path, volume);
  if (left !== undefined) throw left;
  refuseTooSmall(dirname(path), volume, needs(pieceSize));
  const temporary = temporaryOf(path);
  writeRecord(word, { path: temporary });
  let fd: number;
  try {
    fd = open(temporary, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, volume);
  } catch (error) {
    removeFile(word); // what has that name now is not ours
    throw error;
  }
  let state: "open" | "published" | "gone" = "open";
  try {
    ftruncateSync(fd, size);
    if (old !== undefined) {
      if (process.geteuid?.() === 0) fchownSync(fd, old.uid, old.gid);
      fchmodSync(fd, old.mode & 0o7777);
    }
  } catch (error) {
    closeSync(fd);
    rmSync(temporary, { force: true });
    throw failed(volume, error);
  }
  return {
    fd,
    size,
    blank: true,
    name: path,
    publish: async (keep) => {
      fsyncSync(fd);
      const now = replaceable(path, volume);
      if ((now && uuidOf(now)) !== (old && uuidOf(old)))
        throw new StorageError("changed", `${volume}: another file has taken this name meanwhile`);
      const note = (keptPath: string): void => writeRecord(word, { path: temporary, target: path, keptPath });
      const keptPath = now && putAside(volume, path, uuidOf(now), keep, note);
      try {
        renameSync(temporary, path);
      } catch (error) {
        if (keptPath !== undefined) putBack(path, keptPath);
        throw failed(volume, error);
      }
      state = "published";
      syncDirectory(dirname(path));
      return [];
    },
    [Symbol.asyncDispose]: async () => {
      if (state === "gone") return;
      closeSync(fd);
      if (state === "open") rmSync(temporary, { force: true });
      removeFile(word);
      state = "gone";
    },
  };
}

/** What is in the way of a new file where nothing is written down of it: it may be what another restore is making, or all
 *  that there is of the volume, so it stays. */
function leftover(path: string, volume: string): StorageError | undefined {
  const left = temporaryOf(path);
  if (!isThere(left)) return undefined;
  const why = `found ${left}, which another restore has left or is making, wanted nothing there`;
  const unknown = new StorageError("unusable", `${volume}: ${why}`, "where none is running, remove it");
  return betweenNames(path, volume) ?? unknown;
}

/** Where a restore may have been cut short between its two renames: the old one has no name any more, the new one none yet. */
function betweenNames(path: string, volume: string): StorageError | undefined {
  const left = temporaryOf(path);
  if (isThere(path) || !isThere(left)) return undefined;
  const isKept = (name: string): boolean =>
    name.startsWith(`${basename(path)}.old-`) && keptPattern.test(name);
  const old = readdirSync(dirname(path)).filter(isKept).sort().at(-1);
  if (old === undefined) return undefined;
  return new StorageError(
    "unusable",
    `${volume}: a restore of it was cut short, and which step it was at is not known any more: what it has restored is ${left}, the old one ${join(dirname(path), old)}`,
    `give the old one its name back, ${path}; then remove the other, and restore again`,
  );
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Gives the old image a second name, so that the first is never without an image; on file systems that have no hard
 *  links it is renamed, and the restored one takes its place a moment later. `keep` is told first, and `note` the path
 *  under which it will be kept, which it gives as well. */
function putAside(
  volume: string,
  path: string,
  uuid: string,
  keep: (kept: Kept) => void,
  note: (keptPath: string) => void,
): string {
  let keptAt = Date.now();
  const name = (): string =>
    `${volume}.old-${Math.floor(keptAt / 1000)
      .toString(16)
      .padStart(8, "0")}`;
  const target = (): string => join(dirname(path), basename(name()));
  while (existsSync(target())) keptAt += 1000;
  keep({ volume, name: name(), uuid, keptAt });
  note(target());
  try {
    linkSync(path, target());
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!["EPERM", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK"].includes(code ?? ""))
      throw failed(volume, error);
    renameSync(path, target());
  }
  syncDirectory(dirname(path));
  return target();
}

function openInPlace(root: string, { volume, size, needs }: TargetRequest): RestoreTarget {
  const path = pathOf(root, volume);
  if (replaceable(path, volume) === undefined)
    throw (
      betweenNames(path, volume) ?? new StorageError("gone", `${volume}: there is no such file below ${root}`)
    );
  const fd = open(path, constants.O_RDWR, volume);
  let isOpen = true;
  try {
    const grown = size - fstatSync(fd).size;
    refuseTooSmall(dirname(path), volume, Math.min(Math.max(0, grown), needs(pieceSize)));
    ftruncateSync(fd, size);
  } catch (error) {
    closeSync(fd);
    throw failed(volume, error);
  }
  return {
    fd,
    size,
    blank: false,
    name: path,
    publish: async () => {
      fsyncSync(fd);
      return [];
    },
    [Symbol.asyncDispose]: async () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

/** Where the image is or will be: below the root, whatever links say. Its directory is made if it is not there. */
function pathOf(root: string, volume: string): string {
  if (!isVolumeName(volume))
    throw new StorageError("unusable", `${volume}: that can't be the name of an image file`);
  const wanted = join(root, volume);
  try {
    mkdirSync(dirname(wanted), { recursive: true, mode: 0o700 });
    const path = existsSync(wanted)
      ? realpathSync(wanted)
      : join(realpathSync(dirname(wanted)), basename(wanted));
    if (path.startsWith(root === "/" ? root : `${root}/`)) return path;
  } catch (error) {
    throw failed(volume, error);
  }
  throw new StorageError("unusable", `${volume}: it leads out of ${root}`);
}

/** The image that is there, if it may be replaced. */
function replaceable(path: string, volume: string): Stats | undefined {
  const stat = statIfThere(path);
  if (stat === undefined) return undefined;
  if (!stat.isFile())
    throw new StorageError("unusable", `${volume}: found something else, wanted a regular file`);
  const user = userOf(path);
  if (user !== undefined) throw new StorageError("unusable", `${volume}: it is in use: ${user}`);
  return stat;
}

function statIfThere(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

/** By the inode alone, beside a name that has a time in it: a device's number may be another one after a start. */
function isSameFile(stat: Stats, uuid: string): boolean {
  return uuid.split("-").at(-1) === String(stat.ino);
}

function uuidOf(stat: Stats): string {
  return `${stat.dev}-${stat.ino}`;
}

function refuseTooSmall(directory: string, volume: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bytes <= bavail * bsize) return;
  const mib = (value: number): string => `${Math.ceil(value / 2 ** 20)} MiB`;
  throw new StorageError(
    "full",
    `${volume}: it needs ${mib(bytes)}, and ${mib(bavail * bsize)} are free in ${directory}`,
    "make room, or restore elsewhere with --save-to; nothing was made",
  );
}

function open(path: string, flags: number, volume: string): number {
  try {
    return openSync(path, flags | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw failed(volume, error);
  }
}

function failed(volume: string, error: unknown): Error {
  if (error instanceof StorageError) return error;
  return new StorageError(
    "unusable",
    `${volume}: restore: ${error instanceof Error ? error.message : String(error)}`,
  );
}
