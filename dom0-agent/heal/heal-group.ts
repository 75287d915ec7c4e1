// Sessions that refer to lost chunks are made to refer to other copies of them, by a prune that may have no session to
// remove: new manifests, one head, and the damaged chunks are dead (design section 7).

import { toHex } from "../../protocol/bytes.ts";
import type { OldHeads } from "../prune/old-heads.ts";
import { pruneGroup } from "../prune/prune-group.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import { noteUnfinished } from "../state/unfinished-prune.ts";
import { type Copies, copiesOf, noCopies } from "../prune/copies.ts";
import { findUses, type Uses } from "./find-uses.ts";
import { type LostPlaces, lostPlaces } from "../state/lost-places.ts";
import { readCopies } from "./read-copies.ts";

export interface FoundCopies extends Pick<Uses, "needed" | "addresses" | "unread"> {
  readonly copies: Copies;
}

/** What the group has of its lost chunks in other places. `open` can read chunks, and is at the head of `volumes`. */
export async function findCopies(
  open: OpenArchive,
  volumes: readonly ViewedVolume[],
  lost: LostPlaces,
  signal: AbortSignal,
): Promise<FoundCopies> {
  const uses = await findUses(open, volumes, lost, signal);
  const [first] = uses.needed;
  if (first === undefined) return { ...uses, copies: noCopies };
  const byId = await readCopies(open, first.group, uses, signal);
  return { ...uses, copies: copiesOf(lostPlaces(uses.needed), byId, uses.users) };
}

export interface HealOptions {
  readonly open: OpenArchive;
  /** Every volume of the group, as of the current head. */
  readonly volumes: readonly ViewedVolume[];
  readonly copies: Copies;
  /** Sessions that go, by hexadecimal uid. */
  readonly removed: ReadonlySet<string>;
  readonly older: OldHeads;
  readonly signal: AbortSignal;
}

/** Commits the new references. Throws AgentError `integrity` where a manifest or list of the group is damaged. */
export async function healGroup({ open, volumes, ...on }: HealOptions): Promise<void> {
  const [first] = volumes;
  if (first === undefined) return;
  const group = toHex(first.index.group);
  await pruneGroup({
    open,
    volumes,
    ...on,
    scratch: open.paths.prune,
    note: { what: "prune" },
    onUnfinished: (unfinished) => noteUnfinished(open.paths, group, unfinished),
  });
}
