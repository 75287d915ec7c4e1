// The chunks of one container that nobody refers to: its list, fetched and checked against the index, less those that
// are referred to. What is left is the container's next list (archive-format.md, F24).

import { createHash } from "node:crypto";
import { closeSync, rmSync } from "node:fs";
import type { ChunkRun } from "../../protocol/archive/dead-file.ts";
import {
  listBuilder,
  type ListEntry,
  listHeadBytes,
  listLength,
  listRecordBytes,
  listTailBytes,
  readListRecord,
} from "../../protocol/archive/list-file.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { digestBytes, type Digest, type Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { metaOf, type OpenArchive, verified } from "../archive/archive.ts";
import type { StepFile } from "../archive/commit-step.ts";
import type { ChunkRefs } from "./chunk-refs.ts";
import type { GroupContainer } from "./group-containers.ts";
import { spooledParts } from "./walk-volume.ts";
import { readFully } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface DeadChunks {
  /** In rising order; none where it was only measured. */
  readonly runs: readonly ChunkRun[];
  readonly chunks: number;
  /** Bytes of their stored forms. */
  readonly bytes: number;
  /** Chunks and bytes that stay, with their list. */
  readonly list: StepFile;
  readonly left: { readonly chunks: number; readonly bytes: number };
  /** More are dead than `maxRuns` runs hold: the list still has them. */
  readonly more: boolean;
}

export interface DeadOptions {
  readonly open: OpenArchive;
  readonly generation: Generation;
  readonly refs: ChunkRefs;
  readonly scratch: string;
  /** `measure`: all that is dead counts, and no runs of it are kept. */
  readonly maxRuns: number | "measure";
}

/** Records that are looked at, and written, at once: few, so that they are garbage before they get old. */
const blockRecords = 256;

/** Throws AgentError `integrity` where the list is not the one that the index names, or lacks a chunk that is needed. */
export async function deadChunks(
  on: DeadOptions,
  { volume, container }: GroupContainer,
  number: number,
): Promise<DeadChunks> {
  const { index } = volume;
  const what = `${index.name}: list of ${container.name}`;
  const wrong = (why: string): AgentError => new AgentError("integrity", `${what}: ${why}`);
  const { chunkSize } = on.open.record;
  const fetched = `${on.scratch}/list`;
  const path = `${on.scratch}/list-${number}`;
  const source = createFile(fetched);
  const target = createFile(path);
  try {
    const name = metaOf("list", container.listGeneration, index.volume, container.uid);
    const most = listLength(container.chunks);
    const length = await on.open.client.read(name, most, (bytes) => writeAll(source, bytes));
    if (length === undefined) throw wrong("the receiver does not have it");
    const identity = { archive: index.archive, volume: index.volume, session: container.uid };
    const records = verified(what, () => checkedRecords(source, length, container.listDigest, identity));
    if (records === undefined) throw wrong("it is not the one that the index names");
    const builder = listBuilder({ ...identity, generation: on.generation });
    writeAll(target, builder.head);
    const living = on.refs.of(number);
    let next = living.next();
    const runs: { address: ChunkRun["address"]; count: number }[] = [];
    const dead = { chunks: 0, bytes: 0 };
    let more = false;
    const kept = new Uint8Array(blockRecords * listRecordBytes);
    for (const part of entriesOf(source, records)) {
      let keptBytes = 0;
      for (const entry of verified(what, () => part.map(readListRecord))) {
        const chunk = entry.address / chunkSize;
        if (next.done !== true && next.value < chunk) throw wrong("it lacks a chunk that a manifest names");
        const isLiving = next.done !== true && next.value === chunk;
        if (isLiving) next = living.next();
        if (isLiving || !takeDead(runs, entry, chunkSize, on.maxRuns)) {
          more ||= !isLiving;
          kept.set(
            verified(what, () => builder.add(entry)),
            keptBytes,
          );
          keptBytes += listRecordBytes;
          continue;
        }
        dead.chunks++;
        dead.bytes += entry.storedLength;
      }
      writeAll(target, kept.subarray(0, keptBytes));
    }
    if (next.done !== true) throw wrong("it lacks a chunk that a manifest names");
    const { tail, digest, chunks, bytes } = builder.finish();
    writeAll(target, tail);
    const list: StepFile = {
      kind: "list",
      volume: index.volume,
      session: container.uid,
      length: listLength(chunks),
      digest,
      parts: () => spooledParts(path),
    };
    return { runs, ...dead, list, left: { chunks, bytes }, more };
  } finally {
    closeSync(source);
    closeSync(target);
    rmSync(fetched, { force: true });
  }
}

/** Adds a chunk to the runs, if any are kept. False when it would be one run too many. */
function takeDead(
  runs: { address: ChunkRun["address"]; count: number }[],
  { address }: ListEntry,
  chunkSize: number,
  maxRuns: number | "measure",
): boolean {
  if (maxRuns === "measure") return true;
  const last = runs.at(-1);
  if (last !== undefined && last.address + last.count * chunkSize === address) {
    last.count++;
    return true;
  }
  if (runs.length >= maxRuns) return false;
  runs.push({ address, count: 1 });
  return true;
}

/** How many records a list has; undefined where its digest is another one. Throws FormatError. */
function checkedRecords(
  fd: number,
  length: number,
  wanted: Digest,
  of: { readonly archive: Uint8Array; readonly volume: Uint8Array; readonly session: Uint8Array },
): number | undefined {
  const end = length - digestBytes;
  const hash = createHash("sha256");
  const block = new Uint8Array(Math.min(1024 * 1024, Math.max(0, end)));
  for (let at = 0; at < end; at += block.length) {
    const part = block.subarray(0, Math.min(block.length, end - at));
    readFully(fd, part, at, "a list");
    hash.update(part);
  }
  if (end < 0 || !equalBytes(new Uint8Array(hash.digest()), wanted)) return undefined;
  const head = new Uint8Array(listHeadBytes);
  readFully(fd, head, 0, "a list");
  expectPrefix(decodePrefix(head), {
    kind: "list",
    archive: of.archive as never,
    volume: of.volume as never,
  });
  if (!equalBytes(head.subarray(prefixBytes), of.session)) return undefined;
  return (length - listHeadBytes - listTailBytes) / listRecordBytes;
}

function* entriesOf(fd: number, records: number): Generator<Uint8Array[], void, undefined> {
  const block = new Uint8Array(blockRecords * listRecordBytes);
  for (let at = 0; at < records; at += blockRecords) {
    const count = Math.min(blockRecords, records - at);
    readFully(fd, block.subarray(0, count * listRecordBytes), listHeadBytes + at * listRecordBytes, "a list");
    yield Array.from({ length: count }, (_, i) =>
      block.subarray(i * listRecordBytes, (i + 1) * listRecordBytes),
    );
  }
}
