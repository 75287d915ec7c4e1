// What a check has found to be lost is written down, so that the next send puts back what the volumes still hold.

import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CheckedVolume } from "../check/check-group.ts";
import type { ArchiveSettings } from "../config/settings.ts";
import { readArchiveRecord } from "../state/archive-record.ts";
import type { Lock } from "../state/lock.ts";
import { type LostChunk, mostLost, readLost, writeLost } from "../state/lost-chunks.ts";
import { lostPlaces } from "../state/lost-places.ts";
import type { Context } from "../context.ts";

/** What of a check is looked at. */
interface Seen {
  /** Of the head that was checked. */
  readonly headDigest: Uint8Array;
  readonly groups: readonly { readonly group: string; readonly volumes: readonly CheckedVolume[] }[];
  /** Volumes whose index can't be read. */
  readonly lost: readonly unknown[];
}

/** The lost chunks of an archive that was checked, as far as it is known what they were. */
export function lostIn({ groups }: Pick<Seen, "groups">): readonly LostChunk[] {
  return groups.flatMap(({ volumes }) =>
    volumes.flatMap(({ volume: { index }, containers }) =>
      containers.flatMap(({ container, contents }) =>
        [...contents].map(([address, content]): LostChunk => {
          const { group, volume } = index;
          const id = content.id as LostChunk["id"];
          return { group, volume, session: container.uid, address, id, length: content.length };
        }),
      ),
    ),
  );
}

/** Whether there are lost chunks of which it was not kept what they are: they are too many at once. */
export function hasMoreLost({ groups }: Pick<Seen, "groups">): boolean {
  return groups.some(({ volumes }) =>
    volumes.some(({ containers }) => containers.some(({ lost, contents }) => lost.size > contents.size)),
  );
}

/** How many chunks were found to be lost. */
export function lostCount({ groups }: Pick<Seen, "groups">): number {
  const health = groups.flatMap(({ volumes }) => volumes.flatMap(({ containers }) => containers));
  return health.reduce((sum, { lost }) => sum + lost.size, 0);
}

/** Whether there may be lost chunks of the group that the check has not come to: behind a manifest or an index that can't be
 *  read. */
function isUnseen({ groups, lost }: Seen, { group }: LostChunk): boolean {
  const own = groups.find((each) => each.group === toHex(group));
  return (
    lost.length > 0 ||
    own?.volumes.some(({ sessions }) => sessions.some(({ whole }) => whole !== undefined)) === true
  );
}

/** Writes down what was found, in place of what was known before; that stays where it was not looked at. `lock` is the
 *  archive's; where another run has it, or has changed the archive since, nothing is written, which is said. Gives the
 *  chunks. */
export function noteLost(
  context: Context,
  settings: ArchiveSettings,
  checked: Seen,
  lock: Lock | undefined,
): readonly LostChunk[] {
  const { report } = context;
  const paths = context.state.archive(settings.name);
  const lost = lostIn(checked);
  const before = readLost(paths, () => undefined);
  if (lost.length === 0 && before.length === 0) return lost;
  const head = readArchiveRecord(paths)?.head.digest;
  if (lock === undefined || head === undefined || !equalBytes(head, checked.headDigest)) {
    report.notice("what is lost was not written down, because another run is at work: run check again");
    return lost;
  }
  const found = lostPlaces(lost);
  const unseen = before.filter((each) => isUnseen(checked, each) && !found.has(each, each.address));
  writeLost(paths, [...lost, ...unseen]);
  if (lost.length > mostLost || hasMoreLost(checked))
    report.notice(`more than ${mostLost} chunks are lost: the next send looks for so many of them`);
  return lost;
}
