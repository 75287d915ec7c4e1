// Everything that a group's manifests say about what is still needed, read once.

import { rmSync } from "node:fs";
import type { SessionRecord } from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import { nextGeneration, type StepFile } from "../archive/commit-step.ts";
import type { Copies } from "./copies.ts";
import { type ChunkRefs, chunkRefs } from "./chunk-refs.ts";
import { type GroupContainers, groupContainers } from "./group-containers.ts";
import { walkVolume } from "./walk-volume.ts";
import { makeDirectory } from "../state/writing.ts";

export interface GroupOptions {
  readonly open: OpenArchive;
  /** Every volume of the group, as of the current head. */
  readonly volumes: readonly ViewedVolume[];
  /** Sessions that go, by hexadecimal uid. */
  readonly removed: ReadonlySet<string>;
  /** Copies that sessions refer to from then on in place of lost chunks; read, and found to be right. */
  readonly copies?: Copies | undefined;
  /** A directory for spools, made and removed again. */
  readonly scratch: string;
  readonly signal: AbortSignal;
}

export interface GroupScan extends Disposable {
  readonly containers: GroupContainers;
  /** What the sessions that stay refer to. */
  readonly refs: ChunkRefs;
  /** Manifests of sessions that follow removed ones or refer to copies now, for the next generation. */
  readonly manifests: readonly StepFile[];
}

/** Reads every manifest of the group that matters. Throws AgentError `integrity` for one that is not what its index
 *  names, or does not lead to its map root. */
export async function scanGroup({
  open,
  volumes,
  removed,
  copies,
  scratch,
  signal,
}: GroupOptions): Promise<GroupScan> {
  rmSync(scratch, { recursive: true, force: true });
  makeDirectory(scratch);
  const containers = groupContainers(volumes);
  const refs = chunkRefs(`${scratch}/refs`, containers.count, open.record.chunkSize);
  const dispose = (): void => {
    refs[Symbol.dispose]();
    rmSync(scratch, { recursive: true, force: true });
  };
  try {
    const walk = { open, generation: nextGeneration(open), containers, refs, scratch, signal };
    const goes = ({ uid }: SessionRecord): boolean => removed.has(toHex(uid));
    const manifests: StepFile[] = [];
    for (const volume of volumes) {
      const own = copies?.isFor(volume.index.volume) === true ? copies : undefined;
      manifests.push(...(await walkVolume({ ...walk, copies: own }, volume, goes)));
    }
    refs.finish();
    return { containers, refs, manifests, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}
