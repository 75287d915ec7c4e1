// What a prune frees, as it is counted and as it is said.

/** What no session needs any more in the containers of a volume. */
export interface Freed {
  readonly chunks: number;
  readonly bytes: number;
  /** Bytes of it that lie in tar files of which something stays. */
  readonly inTars: number;
}

export const nothingFreed: Freed = { chunks: 0, bytes: 0, inTars: 0 };

/** The same with those bytes alone that the file system gets back: without holes in files, a tar that stays keeps its own. */
export function comesFree(freed: Freed, punchesHoles: boolean): Freed {
  return punchesHoles ? freed : { ...freed, bytes: freed.bytes - freed.inTars };
}
