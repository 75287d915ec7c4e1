// Where dom0 keeps what: the directory tree below the state directory (design section 5).
//
//   owner                       this installation's mark on its snapshots
//   lock                        held for moments: monitor, the changes of state of a send, add
//   restore.lock, look.lock     held for the whole of a restore, of a diff
//   swap, restoring             written while a restored volume takes its place (storage/)
//   kept                        what restores have put aside
//   gone                        since when volumes are not on this machine any more
//   reservation                 written while a metadata snapshot is held (storage/)
//   archives/NAME/lock          held for the whole of a send
//                /readers       held together by what reads chunks, alone by what removes any
//                /archive       what dom0 knows of the archive, and the head it accepts
//                /key           the master key, 0600
//                /headers/N     the archive's header, as each change of its key slots has left it
//                /intent        the head that is about to be made
//                /deleted       volumes that were deleted, and their groups
//                /unfinished    groups of volumes with chunks that no session needs
//                /lost          chunks that a check has found to be lost
//                /prune/        spools of a prune
//                /volumes/ID/delta     changes since the last session
//                           /pending   a send under way: its session, its snapshot …
//                           /sending   … and its part of the delta map
//                           /ids, /groups, /stamp     the map of the last session
//                           /entries   the manifest that is being made
//                           /fresh     chunks of the session that is being made, by id
//                           /journal-SESSION          what was sent of a session, until it is committed
//                           /last      the last session that the archive has of it, for status
//                /indexes/ID/table, /table-stamp   the chunk index of a group of volumes
//
// docs/state.md says what each holds, and what is lost with it.

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { GroupId, SessionUid, VolumeId } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import { AgentError } from "../errors.ts";
import { readIfThere, replaceFile } from "./atomic-file.ts";
import { makeDirectory } from "./writing.ts";

export interface VolumePaths {
  readonly directory: string;
  readonly delta: string;
  readonly pending: string;
  readonly sending: string;
  readonly ids: string;
  readonly groups: string;
  readonly stamp: string;
  readonly entries: string;
  readonly fresh: string;
  readonly last: string;
  journal(session: SessionUid): string;
}

export interface GroupPaths {
  readonly directory: string;
  readonly table: string;
  readonly stamp: string;
}

export interface ArchivePaths {
  readonly directory: string;
  readonly lock: string;
  readonly readers: string;
  readonly archive: string;
  readonly key: string;
  readonly headers: string;
  readonly intent: string;
  readonly deleted: string;
  readonly unfinished: string;
  readonly lost: string;
  readonly prune: string;
  /** A directory for each volume. */
  readonly volumes: string;
  volume(id: VolumeId): VolumePaths;
  group(id: GroupId): GroupPaths;
}

export interface StateLayout {
  readonly directory: string;
  readonly lock: string;
  archive(name: string): ArchivePaths;
}

/** The paths below `directory`. Nothing is made. */
export function stateLayout(directory: string): StateLayout {
  return {
    directory,
    lock: join(directory, "lock"),
    archive: (name) => {
      const own = join(directory, "archives", name);
      const volumes = join(own, "volumes");
      return {
        directory: own,
        lock: join(own, "lock"),
        readers: join(own, "readers"),
        archive: join(own, "archive"),
        key: join(own, "key"),
        headers: join(own, "headers"),
        intent: join(own, "intent"),
        volumes,
        volume: (id) => volumePathsIn(join(volumes, toHex(id))),
        group: (id) => groupPaths(join(own, indexesDirectory, toHex(id))),
        deleted: join(own, "deleted"),
        unfinished: join(own, "unfinished"),
        lost: join(own, "lost"),
        prune: join(own, "prune"),
      };
    },
  };
}

/** A volume's files in a directory of their own. */
export function volumePathsIn(directory: string): VolumePaths {
  return {
    directory,
    delta: join(directory, "delta"),
    pending: join(directory, "pending"),
    sending: join(directory, "sending"),
    ids: join(directory, "ids"),
    groups: join(directory, "groups"),
    stamp: join(directory, "stamp"),
    entries: join(directory, "entries"),
    fresh: join(directory, "fresh"),
    last: join(directory, "last"),
    journal: (session) => join(directory, `${journalPrefix}${toHex(session)}`),
  };
}

/** Where an archive's chunk indexes are, a directory for each group by its id. */
export const indexesDirectory = "indexes";

/** What the name of a journal begins with, before its session's uid. */
export const journalPrefix = "journal-";

/** What the name of a salvaged session's list begins with, as long as a send uses it. */
export const salvagedPrefix = "salvaged-";

function groupPaths(directory: string): GroupPaths {
  return { directory, table: join(directory, "table"), stamp: join(directory, "table-stamp") };
}

/** The 8 hexadecimal digits that mark this installation's snapshots; made at the first call. Call under the lock. */
export function ownerOf(directory: string): string {
  const path = join(directory, "owner");
  const found = readIfThere(path);
  if (found !== undefined) {
    const text = new TextDecoder().decode(found).trim();
    if (/^[0-9a-f]{8}$/.test(text)) return text;
    throw new AgentError(
      "failed",
      `read state: ${path}: found «${text.slice(0, 20)}», wanted 8 hexadecimal digits`,
      "the digits are in the LVM tags of the snapshots: sparsebak-XXXXXXXX",
    );
  }
  makeDirectory(directory);
  const owner = randomBytes(4).toString("hex");
  replaceFile(path, [utf8(`${owner}\n`)]);
  return owner;
}
