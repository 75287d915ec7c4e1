// From PATH-TO-VOLUME, as it was typed, to the archive and the volume's directory in it.

import { lstatSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { isSessionName } from "../../protocol/archive/names.ts";
import { holdsHeads, openArchiveState, volumeDirectories, volumesHint } from "./archive-state.ts";
import { AssembleError, systemCode } from "./errors.ts";
import { printable } from "./printable.ts";

export interface VolumePath {
  readonly archivePath: string;
  readonly volumeDirectory: string;
}

/** The archive's directory, where it is that which was typed. */
export function archiveAt(typed: string): string | undefined {
  return holdsHeads(typed) ? realpathSync(typed) : undefined;
}

/**
 * The archive is the parent of the volume's directory, wherever relative paths and links lead, but for a link in the
 * archive itself. Where the archive was typed, a read key may say which directory is meant. Throws AssembleError
 * `no-volume` with the names of the volumes where there is an archive but no such volume; `corrupt-archive`.
 */
export function resolveVolumePath(typed: string, directoryOfKey?: string): VolumePath {
  const shown = printable(typed);
  let path: string;
  try {
    path = realpathSync(typed);
  } catch (error) {
    const code = systemCode(error);
    const what =
      code === "ENOENT" ? "no such directory" : `directory can't be reached (${code ?? String(error)})`;
    throw new AssembleError("no-volume", `${what}: ${shown}`, nearbyHint(dirname(typed)));
  }
  const itself = resolve(typed);
  if (lstatSync(itself).isSymbolicLink() && holdsHeads(dirname(itself)))
    throw new AssembleError(
      "corrupt-archive",
      `a symbolic link stands in place of a volume's directory: ${shown}`,
    );
  if (!statSync(path).isDirectory()) {
    throw new AssembleError(
      "no-volume",
      `not a directory, wanted a volume's directory: ${shown}`,
      sessionHint(path),
    );
  }
  if (holdsHeads(path)) {
    if (directoryOfKey !== undefined) return { archivePath: path, volumeDirectory: directoryOfKey };
    throw new AssembleError(
      "no-volume",
      `this is the archive, wanted the directory of one of its volumes: ${shown}`,
      `${nearbyHint(path) ?? "name the directory of a volume in it"}; --list shows them by name`,
    );
  }
  const hint = sessionHint(path);
  if (hint !== undefined) {
    throw new AssembleError("no-volume", `this is a session, wanted its volume's directory: ${shown}`, hint);
  }
  return { archivePath: dirname(path), volumeDirectory: basename(path) };
}

function nearbyHint(archive: string): string | undefined {
  if (!holdsHeads(archive)) return undefined;
  try {
    return volumesHint(volumeDirectories(openArchiveState(realpathSync(archive), ".")));
  } catch {
    return undefined; // a damaged archive is the next run's error, not this one's
  }
}

function sessionHint(path: string): string | undefined {
  const name = basename(path).replace(/\.tar$/, "");
  if (!isSessionName(name)) return undefined;
  return `give ${printable(join(dirname(path), ""))} and --session ${name}`;
}
