// What a session is called: by the second in which its run began, or the next one that is free (design section 7: two in
// one second, or a clock that was set back). One send gives all its volumes the same name (design section 2).

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { sessionNameAt } from "../../protocol/archive/names.ts";
import type { SessionName } from "../../protocol/archive/types.ts";
import type { Pending } from "../../protocol/wire/messages.ts";
import { type OpenArchive, readIndex } from "./archive.ts";

/** The names that a volume has had, pruned sessions that still hold chunks and unfinished ones among them. */
export function namesOf(index: VolumeIndex | undefined, leftovers: readonly Pending[]): Set<SessionName> {
  return new Set([...(index?.containers ?? []), ...leftovers].map((each) => each.name));
}

/** The first name from a time on, in milliseconds since 1970, that is not taken, and its time. */
export function freeName(
  taken: ReadonlySet<SessionName>,
  startedAt: number,
): { readonly name: SessionName; readonly at: number } {
  for (let at = startedAt; ; at += 1000) {
    const name = sessionNameAt(at);
    if (!taken.has(name)) return { name, at };
  }
}

/** The first time from `startedAt` on whose name none of `volumes` has had. What is wrong with a volume's index is said
 *  when it is that volume's turn. */
export async function freeTime(
  open: OpenArchive,
  volumes: readonly string[],
  leftovers: readonly Pending[],
  startedAt: number,
): Promise<number> {
  const taken = namesOf(undefined, leftovers);
  for (const { name, id } of open.record.volumes) {
    if (!volumes.includes(name)) continue;
    const index = await readIndex(open, id).catch(() => undefined);
    for (const each of namesOf(index, [])) taken.add(each);
  }
  return freeName(taken, startedAt).at;
}
