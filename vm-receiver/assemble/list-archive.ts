// The volumes of an archive by name, for whoever has nothing but the drive and a passphrase: in a sealed archive
// directories are called by ids.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { openArchiveState, type StateOptions, volumeDirectories } from "./archive-state.ts";
import { openVolume } from "./assemble.ts";
import { AssembleError } from "./errors.ts";

export interface ListedVolume {
  readonly directory: string;
  /** What it has; an error where that can't be read. */
  readonly index: VolumeIndex | AssembleError;
}

/** Every volume that the archive's state names. Throws AssembleError where that itself can't be read. */
export function listVolumes(archivePath: string, options: StateOptions): readonly ListedVolume[] {
  const said = new Set<string>();
  const warn = (message: string): void => {
    if (!said.has(message)) options.warn?.(message);
    said.add(message);
  };
  const of = { ...options, archivePath, warn };
  return volumeDirectories(openArchiveState(archivePath, ".", of)).map((directory) => {
    try {
      return { directory, index: openVolume({ ...of, volumeDirectory: directory }).index };
    } catch (error) {
      if (!(error instanceof AssembleError)) throw error;
      return { directory, index: error };
    }
  });
}
