// Which states of an archive dom0 goes on from: the one that it remembers, the one that it was about to make, and what
// descends from them; another one only where somebody says so (design section 8, "Rollback").

import { isDeepStrictEqual } from "node:util";
import { logEntryOf } from "../../protocol/archive/head.ts";
import type { Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { logEntry } from "../../protocol/seal/keys.ts";
import { AgentError } from "../errors.ts";
import { afterStep } from "../state/after-step.ts";
import {
  type ArchiveRecord,
  type HeadMark,
  type Intent,
  readArchiveRecord,
  readIntent,
  writeArchiveRecord,
} from "../state/archive-record.ts";
import { removeFile } from "../state/atomic-file.ts";
import { noteCurrent } from "../state/last-session.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { tryLock } from "../state/lock.ts";
import { DamagedStateError } from "../state/record.ts";
import { markOf, type OpenArchive, readNamedIndex } from "./archive.ts";
import { isDamage } from "./read-or-copy.ts";

const noGeneration = 0 as Generation;

/**
 * Accepts the head that dom0 remembers, or one that descends from it: a verified head's log holds an entry of every
 * generation before it. So is the one accepted that dom0 was about to make when it lost the connection; then its own
 * records follow that step now. Another one is taken where `acceptRollback` says so, and then nothing that dom0
 * remembers of the other history counts any more. Without the archive's lock (`holdsLock`) dom0's state is only changed
 * while nobody else has that.
 */
export async function acceptHead(
  open: OpenArchive,
  on: {
    readonly acceptRollback: (what: string) => Promise<boolean>;
    readonly warn: (message: string) => void;
    readonly holdsLock: boolean;
  },
): Promise<void> {
  const { head, record, paths, keys } = open;
  const isAt = (mark: HeadMark): boolean =>
    head.generation === mark.generation && equalBytes(head.chain, mark.chain);
  const descendsFrom = (mark: HeadMark): boolean => {
    const entry = logEntryOf(head, mark.generation);
    return (
      head.generation > mark.generation &&
      entry !== undefined &&
      equalBytes(entry, logEntry(keys, mark.generation, mark.chain))
    );
  };
  const accepted =
    isAt(record.head) || descendsFrom(record.head) || (record.head.generation === 0 && head.generation === 1);
  if (!accepted) {
    const how = head.generation < record.head.generation ? "an older state" : "a state that does not follow";
    const what = `archive ${open.settings.name}: found ${how} (generation ${head.generation}), wanted generation ${record.head.generation} or one made from it`;
    if (!(await on.acceptRollback(what))) {
      throw new AgentError(
        "integrity",
        what,
        "an older copy of the drive, or somebody has altered it; nothing was written. If you put the older copy there yourself, --accept-rollback goes on from it",
      );
    }
    on.warn(`${what}; ACCEPTED as you said: what was sent since then is not in it`);
  }
  const settle = async (): Promise<void> => {
    const intent = intentOf(paths, on.warn);
    const followed = intent !== undefined && accepted && (isAt(intent.head) || descendsFrom(intent.head));
    const known = followed ? afterStep(paths, record, intent.step) : record;
    if (!isAt(record.head)) await noteSessions(open, known, accepted ? record.head.generation : noGeneration);
    if (followed || !isAt(record.head)) {
      open.record = { ...known, head: markOf(head, open.headDigest) };
      writeArchiveRecord(paths, open.record);
    }
    // Without the lock the head may have been read before somebody made, and lost, the step that is meant.
    if (intent !== undefined && (followed || on.holdsLock)) removeFile(paths.intent);
  };
  if (on.holdsLock) return await settle();
  // A reading command beside one that is just at its last step must not take that for one that was cut short.
  using lock = await tryLock(paths.lock);
  if (lock !== undefined && isDeepStrictEqual(readArchiveRecord(paths), record)) return await settle();
  open.record = { ...record, head: markOf(head, open.headDigest) };
}

/** A damaged intent is dropped: the head's log says whether it was carried out. */
function intentOf(paths: ArchivePaths, warn: (message: string) => void): Intent | undefined {
  try {
    return readIntent(paths);
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error;
    warn(`${error.message}; it is dropped`);
    removeFile(paths.intent);
    return undefined;
  }
}

/** Notes the newest session of each volume whose index is younger than the generation `since`. Where an index is damaged,
 *  what was noted stays: it is check that says so. */
async function noteSessions(
  open: OpenArchive,
  { volumes, uuid }: ArchiveRecord,
  since: Generation,
): Promise<void> {
  for (const { id } of volumes) {
    const entry = open.head.volumes.find(({ volume }) => equalBytes(volume, id));
    if (entry !== undefined && entry.indexGeneration <= since) continue;
    try {
      const index = entry && (await readNamedIndex(open.client, entry, uuid, open.seal.opener));
      noteCurrent(open.paths.volume(id), index);
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
  }
}
