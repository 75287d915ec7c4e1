// What a repair can do for a group: which lost chunks have other copies, which a volume of this machine holds, which are
// gone, and which sessions go with these.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import type { ChunkAddress } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { ArchivedVolume } from "../check/archived-volume.ts";
import type { CheckedVolume } from "../check/check-group.ts";
import { allSessions } from "../restore/find-session.ts";
import { verifyAllSessions } from "../restore/verify-all.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { isDamaged } from "../restore/damage-report.ts";
import type { LostChunk } from "../state/lost-chunks.ts";
import { noCopies } from "../prune/copies.ts";
import { type FoundCopies, findCopies } from "./heal-group.ts";
import { type LostPlaces, lostPlaces, refKey } from "../state/lost-places.ts";

/** A session that can't be saved. */
export interface GoingSession {
  readonly uid: string;
  readonly name: string;
}

export interface GroupPlan extends FoundCopies {
  /** The volumes as they were checked, with the indexes of now. */
  readonly volumes: readonly CheckedVolume[];
  /** Without a copy, and held by a volume of this machine: which one, by hexadecimal chunk id. */
  readonly held: LostPlaces;
  readonly holders: ReadonlyMap<string, string>;
  /** Neither the one nor the other. */
  readonly gone: readonly LostChunk[];
  /** For each volume. */
  readonly going: readonly (readonly GoingSession[])[];
  /** A manifest is lost: nothing can be sent to the group before the sessions behind it are gone. */
  readonly lacksManifest: boolean;
}

export interface PlanOptions {
  readonly open: OpenArchive;
  readonly volumes: readonly CheckedVolume[];
  readonly lost: readonly LostChunk[];
  /** Which of the chunks volumes of this machine hold, as `holders`; undefined: they are not looked at. */
  readonly look?: (
    volumes: readonly ArchivedVolume[],
    uses: FoundCopies,
    wanted: ReadonlySet<string>,
  ) => Promise<ReadonlyMap<string, string>>;
  readonly signal: AbortSignal;
}

export async function planGroup({ open, volumes, lost, look, signal }: PlanOptions): Promise<GroupPlan> {
  const archived = volumes.map((each) => each.volume);
  const found: FoundCopies =
    lost.length === 0
      ? { needed: [], addresses: new Map(), unread: undefined, copies: noCopies }
      : await findCopies(open, archived, lostPlaces(lost), signal);
  const missing = found.needed.filter((each) => found.copies.in(each)?.has(each.address) !== true);
  const wanted = new Set(missing.map((each) => toHex(each.id)));
  const nobody: ReadonlyMap<string, string> = new Map();
  const holders = wanted.size === 0 || look === undefined ? nobody : await look(archived, found, wanted);
  const isHeld = ({ id }: LostChunk): boolean => holders.has(toHex(id));
  const gone = missing.filter((each) => !isHeld(each));
  const known = new Set(
    archived.flatMap(({ index }) =>
      index.containers.map((each) => refKey({ volume: index.volume, session: each.uid })),
    ),
  );
  const held = lostPlaces(missing.filter(isHeld));
  const lostIn = new Map(
    volumes.flatMap(({ volume: { index }, containers }) =>
      containers.map(({ container, contents: of }) => [
        refKey({ volume: index.volume, session: container.uid }),
        of,
      ]),
    ),
  );
  // One of which it is not known what it is waits for the next round.
  const isGone = (ref: ContainerRef, address: ChunkAddress): boolean =>
    lostIn.get(refKey(ref))?.has(address) === true &&
    found.copies.in(ref)?.has(address) !== true &&
    !held.has(ref, address);
  const judged = { open, known, isGone, signal };
  const going: (readonly GoingSession[])[] = [];
  let lacksManifest = false;
  for (const each of volumes) {
    if (lost.length === 0) {
      going.push(damagedIn(each.volume.index, each));
      continue;
    }
    const seen = await goingIn(judged, each);
    going.push(seen.going);
    lacksManifest ||= seen.lacksManifest;
  }
  return { ...found, volumes, held, holders, gone, going, lacksManifest };
}

/** The sessions that the check found to be damaged. */
function damagedIn(index: VolumeIndex, { sessions }: CheckedVolume): readonly GoingSession[] {
  return allSessions(index).flatMap(({ record, container }, i) => {
    const damage = sessions[i];
    const isBad = damage !== undefined && isDamaged(damage);
    return isBad ? [{ uid: toHex(record.uid), name: container.name }] : [];
  });
}

/** Those that are damaged when only what is gone is lost, and those of which nothing can be restored whatever is there. */
async function goingIn(
  {
    open,
    known,
    isGone,
    signal,
  }: {
    readonly open: OpenArchive;
    /** The containers of the group. */
    readonly known: ReadonlySet<string>;
    readonly isGone: (ref: ContainerRef, address: ChunkAddress) => boolean;
    readonly signal: AbortSignal;
  },
  { volume: { index }, sessions: checked }: CheckedVolume,
): Promise<{ readonly going: readonly GoingSession[]; readonly lacksManifest: boolean }> {
  const { found } = await verifyAllSessions(open, index, {
    judge: (ref, { storedAddress }) =>
      !known.has(refKey(ref)) || isGone(ref, storedAddress) ? "lost" : "right",
    onProgress: () => undefined,
    signal,
  });
  const whole = new Set(checked.filter((each) => each.whole !== undefined).map((each) => each.session));
  const going = allSessions(index).flatMap(({ record, container: { name } }, i) => {
    const damage = found[i];
    const isBad = (damage !== undefined && isDamaged(damage)) || whole.has(name);
    return isBad ? [{ uid: toHex(record.uid), name }] : [];
  });
  return { going, lacksManifest: found.some((each) => each.whole !== undefined) };
}
