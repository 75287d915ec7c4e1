// Which chunks of which containers are referred to: pairs of numbers, collected in any order, given back sorted and
// without repetition. What does not fit in memory is sorted in runs on disk, so memory is the same for ten references
// and for a hundred million.

import { closeSync, rmSync } from "node:fs";
import { maxVolumeSize } from "../../protocol/archive/types.ts";
import { AgentError } from "../errors.ts";
import { readFully } from "../read-fully.ts";
import { createFile, writeAll } from "../state/writing.ts";

export interface ChunkRefs extends Disposable {
  /** Container `container` keeps a chunk that is needed, its `chunk`-th by address. */
  add(container: number, chunk: number): void;
  /** Nothing more comes. Afterwards the rest may be asked. */
  finish(): void;
  /** How many different chunks of a container are referred to. */
  count(container: number): number;
  /** Those chunks, rising. */
  of(container: number): Generator<number, void, undefined>;
}

/** References that are sorted at once: 8 MiB of them. */
const runLength = 1024 * 1024;
/** References that are read at once from each run. */
const blockLength = 8192;

interface Run {
  readonly start: number;
  readonly length: number;
}

/** An empty collection for `containers` containers, with its files at `path`. */
export function chunkRefs(
  path: string,
  containers: number,
  chunkSize: number,
  inMemory: number = runLength,
): ChunkRefs {
  // A pair is one number: exact in a double as long as it is below 2^53.
  const stride = maxVolumeSize / chunkSize;
  if (containers * stride > 2 ** 53)
    throw new AgentError(
      "failed",
      `prune: ${containers} containers share chunks, wanted at most ${2 ** 53 / stride}`,
    );
  const files = [`${path}.runs`, `${path}.sorted`] as const;
  const [runsFd, sortedFd] = files.map(createFile) as [number, number];
  let buffer = new Float64Array(inMemory);
  let buffered = 0;
  const runs: Run[] = [];
  const starts = new Float64Array(containers);
  const counts = new Float64Array(containers);

  const flush = (): void => {
    const sorted = distinct(buffer.subarray(0, buffered).sort());
    const last = runs.at(-1);
    const start = last === undefined ? 0 : last.start + last.length;
    if (sorted.length > 0) {
      writeAll(runsFd, bytesOf(sorted), start * 8);
      runs.push({ start, length: sorted.length });
    }
    buffered = 0;
  };

  return {
    add: (container, chunk) => {
      if (buffered === inMemory) flush();
      buffer[buffered++] = container * stride + chunk;
    },
    finish: () => {
      flush();
      buffer = new Float64Array(0);
      const out = new Float64Array(blockLength);
      let filled = 0;
      let written = 0;
      let before = -1;
      for (const key of merged(runsFd, runs)) {
        if (key === before) continue;
        before = key;
        const container = Math.floor(key / stride);
        if (counts[container] === 0) starts[container] = written + filled;
        counts[container] = (counts[container] ?? 0) + 1;
        out[filled++] = key;
        if (filled < out.length) continue;
        writeAll(sortedFd, bytesOf(out), written * 8);
        written += filled;
        filled = 0;
      }
      writeAll(sortedFd, bytesOf(out.subarray(0, filled)), written * 8);
    },
    count: (container) => counts[container] ?? 0,
    of: function* (container) {
      const first = container * stride;
      const run = { start: starts[container] ?? 0, length: counts[container] ?? 0 };
      for (const key of readRun(sortedFd, run)) yield key - first;
    },
    [Symbol.dispose]: () => {
      closeSync(runsFd);
      closeSync(sortedFd);
      for (const file of files) rmSync(file, { force: true });
    },
  };
}

/** Moves the distinct of sorted values to the front. */
function distinct(sorted: Float64Array): Float64Array {
  let kept = 0;
  for (const value of sorted) if (kept === 0 || sorted[kept - 1] !== value) sorted[kept++] = value;
  return sorted.subarray(0, kept);
}

function bytesOf(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function* readRun(fd: number, { start, length }: Run): Generator<number, void, undefined> {
  const block = new Float64Array(Math.min(blockLength, length));
  for (let at = 0; at < length; at += block.length) {
    const values = block.subarray(0, Math.min(block.length, length - at));
    readFully(fd, bytesOf(values), (start + at) * 8, "references");
    yield* values;
  }
}

/** The values of all runs, rising: a heap of the runs by their next value. */
function* merged(fd: number, runs: readonly Run[]): Generator<number, void, undefined> {
  const heap: { value: number; readonly rest: Generator<number, void, undefined> }[] = [];
  for (const run of runs) {
    const rest = readRun(fd, run);
    const first = rest.next();
    if (first.done !== true) heap.push({ value: first.value, rest });
  }
  heap.sort((a, b) => a.value - b.value);
  for (let top = heap[0]; top !== undefined; top = heap[0]) {
    yield top.value;
    const next = top.rest.next();
    if (next.done === true) {
      const last = heap.pop();
      if (last === undefined || last === top) continue;
      heap[0] = last;
    } else top.value = next.value;
    sink(heap);
  }
}

function sink(heap: { value: number }[]): void {
  for (let at = 0; ;) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) {
      if ((heap[child]?.value ?? Infinity) < (heap[least]?.value ?? Infinity)) least = child;
    }
    const [a, b] = [heap[at], heap[least]];
    if (least === at || a === undefined || b === undefined) return;
    heap[at] = b;
    heap[least] = a;
    at = least;
  }
}
