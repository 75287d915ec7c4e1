// What becomes of one container: it stays, loses its session, loses chunks, or goes.

import type { ChunkRun } from "../../protocol/archive/dead-file.ts";
import type { Container } from "../../protocol/archive/index-file.ts";
import type { Digest, Generation } from "../../protocol/archive/types.ts";
import { toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { nextGeneration, type StepFile } from "../archive/commit-step.ts";
import { deadChunks } from "./dead-chunks.ts";
import type { GroupOptions, GroupScan } from "./scan-group.ts";

export interface Fate {
  readonly number: number;
  /** undefined: all of it goes. The manifest is that of before, unless the session goes. */
  readonly after: Container | undefined;
  /** Its next list, where it loses chunks. */
  readonly list: StepFile | undefined;
  readonly runs: readonly ChunkRun[];
  /** More chunks of it are dead than `maxRuns` allowed for. */
  readonly more: boolean;
  /** What comes free: chunks, their bytes. */
  readonly chunks: number;
  readonly bytes: number;
}

const noDigest = new Uint8Array(32) as Digest;

/** A container whose session is gone and whose chunks are still needed (F16, F17). */
export function withoutSession(container: Container): Container {
  return { ...container, manifestGeneration: 0 as Generation, manifestDigest: noDigest };
}

/** `before` is the container as the current head has it. `measure` instead of a number: all that is dead counts, and no
 *  runs of it are kept. undefined: nothing but its manifest may change. */
export async function fateOf(
  on: GroupOptions,
  scan: GroupScan,
  number: number,
  before: Container,
  maxRuns: number | "measure",
): Promise<Fate | undefined> {
  const { volume } = scan.containers.at(number);
  const uid = toHex(before.uid);
  const hasSession = scan.containers.hasSession(number) && !on.removed.has(uid);
  const living = scan.refs.count(number);
  const nothing = { number, list: undefined, runs: [], more: false, chunks: 0, bytes: 0 };
  if (!hasSession && living === 0)
    return { ...nothing, after: undefined, chunks: before.chunks, bytes: before.storedBytes };
  if (living > before.chunks)
    throw new AgentError(
      "integrity",
      `${volume.index.name}: ${before.name}: manifests name ${living} chunks, and it stores ${before.chunks}`,
      "nothing was removed; sparsebak check says what is damaged",
    );
  const kept = hasSession ? before : withoutSession(before);
  if (living === before.chunks)
    return kept.manifestGeneration === before.manifestGeneration ? undefined : { ...nothing, after: kept };
  const { open, scratch } = on;
  const generation = nextGeneration(open);
  const dead = await deadChunks(
    { open, generation, refs: scan.refs, scratch, maxRuns },
    { volume, container: before },
    number,
  );
  const { list, runs, more, chunks, bytes, left } = dead;
  const after = {
    ...kept,
    listGeneration: generation,
    listDigest: list.digest,
    chunks: left.chunks,
    storedBytes: left.bytes,
  };
  return { number, after, list, runs, more, chunks, bytes };
}
