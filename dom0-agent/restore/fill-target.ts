// One volume into what it is restored to, whatever is there: what differs is written, and where the storage can leave
// other things beside what was written, it is looked at again.

import { type Bitmap, countSet } from "../delta/bitmap.ts";
import { AgentError } from "../errors.ts";
import { rereadDevice, zeroesWhatItMaps } from "../storage/reread.ts";
import type { RestoreTarget } from "../storage/restore-target.ts";
import { differingFromMap } from "./passes.ts";
import { type Restored, restoreInto, type Work } from "./restore-into.ts";
import { zeroTail } from "./zero-tail.ts";

/** Looks at a target whose storage does not zero: the first finds what the writing has left, the next should find nothing. */
const mostLooks = 3;

export interface FillOptions {
  /** The target holds something, which may be what is wanted already: so many chunks of it are compared, and `onDiffering`
   *  hears what is to be written. */
  readonly compare?: {
    readonly chunks: number;
    readonly onDiffering: (differing: Bitmap) => Promise<void>;
  };
  /** Bytes up to which zeros are to follow the volume. */
  readonly end: number;
}

/** Makes `target` what the map says. Throws AgentError `integrity` at the first chunk that is missing or damaged, and
 *  `failed` where the target does not keep what is written. */
export async function fillTarget(
  work: Work,
  target: Pick<RestoreTarget, "fd" | "blank" | "name">,
  { compare, end }: FillOptions,
): Promise<Restored> {
  const { map, crew, signal } = work;
  const { fd } = target;
  const onProgress = (bytes: number): void => work.onProgress(bytes, map.size);
  const differing = async (chunks: number): Promise<Bitmap> =>
    differingFromMap({ map, crew, fd, onProgress, signal }, chunks);
  const wanted = compare === undefined ? undefined : await differing(compare.chunks);
  if (wanted !== undefined) await compare?.onDiffering(wanted);
  let restored = await restoreInto(work, target, wanted);
  if (!target.blank) zeroTail(fd, map.size, end);
  if (target.blank || (await zeroesWhatItMaps(fd))) return restored;
  for (let look = 0; look < mostLooks; look++) {
    await rereadDevice(fd);
    zeroTail(fd, map.size, end);
    const strays = await differing(Number.POSITIVE_INFINITY);
    if (countSet(strays) === 0) return restored;
    restored = sum(restored, await restoreInto(work, target, strays));
  }
  throw new AgentError(
    "failed",
    `receive: ${work.volume}: ${target.name} does not keep what is written to it`,
  );
}

function sum(one: Restored, other: Restored): Restored {
  return {
    fetchedBytes: one.fetchedBytes + other.fetchedBytes,
    writtenBytes: one.writtenBytes + other.writtenBytes,
    discardedBytes: one.discardedBytes + other.discardedBytes,
  };
}
