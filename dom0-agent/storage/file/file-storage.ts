// Image files on any file system, as they are: no snapshots and no deltas, so a send reads what is no hole and sends
// what differs from the last session. Needs no root, only the right to read the files.

import { realpathSync, statSync } from "node:fs";
import { InternalError } from "../../../protocol/errors.ts";
import type { Extent } from "../../delta/extent.ts";
import {
  type Storage,
  StorageError,
  type StorageOptions,
  type Survey,
  type VolumeState,
} from "../storage.ts";
import { mappedExtents } from "./filefrag.ts";
import { findImages } from "./find-images.ts";
import { openImage, openUnchanging } from "./image-file.ts";
import { fileRestore } from "./restore-files.ts";

/** The images below `localPath`. Throws StorageError `unusable` when that is no directory. */
export async function fileStorage(
  settings: { readonly localPath: string },
  options: StorageOptions,
): Promise<Storage> {
  const root = realRoot(settings.localPath);
  const noSnapshots = (): never => {
    throw new InternalError("image files have no snapshots");
  };
  return {
    capabilities: { snapshots: false, delta: false },
    survey: async (names, { all = false } = {}) =>
      survey(root, all ? [...names, ...findImages(root)] : names),
    createSnapshots: async () => noSnapshots(),
    relabelSnapshots: async () => noSnapshots(),
    dropSnapshots: async () => noSnapshots(),
    withMetadata: async () => noSnapshots(),
    openSnapshot: async () => noSnapshots(),
    openVolume: async (volume) => openUnchanging(root, volume),
    mappedOf: (volume) => mappedOf(root, volume, options.signal),
    restore: fileRestore(root, options.stateDirectory),
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

function survey(root: string, names: readonly string[]): Survey {
  const volumes = new Map<string, VolumeState>();
  const unusable = new Map<string, string>();
  for (const name of new Set(names)) {
    try {
      using image = openImage(root, name);
      volumes.set(name, image.state);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      if (error.code === "unusable") unusable.set(name, error.message);
    }
  }
  const { dev, blksize } = statSync(root);
  const pool = {
    uuid: `device-${dev}`,
    chunkSize: blksize,
    dataPercent: undefined,
    metadataPercent: undefined,
  };
  return { pool, volumes, snapshots: [], unusable };
}

async function* mappedOf(root: string, volume: VolumeState, signal: AbortSignal): AsyncGenerator<Extent> {
  using image = openImage(root, volume.name);
  if (image.state.uuid !== volume.uuid || image.state.size !== volume.size) {
    throw new StorageError("changed", `${volume.name}: it was replaced or resized`);
  }
  yield* await mappedExtents(image.fd, volume.size, signal);
}
