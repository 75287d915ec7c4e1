// Fuzzes every decoder and both ends' state machine (docs/testing.md). Prints its seed; the same seed, the same inputs.
//
//   ./run fuzz [--frames N] [--seed S]      N frames, files and steps in all; ten million unless said otherwise
//
// The work is done in a thread, so that an input on which a decoder hangs is noticed; what a slice of inputs leaves
// behind in memory is measured, and growth is a finding as well.

import { parseArgs } from "node:util";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { random } from "./random.ts";
import { targets } from "./targets.ts";

/** Frames of one slice: after each the parent hears how far it is. */
const sliceFrames = 20_000;
/** What a slow target gets of what the others get. */
const slowShare = 1 / 50;
/** A slice takes a second or two; in this time there is no doubt that one input holds everything up. */
const hangMilliseconds = 120_000;
/** Bytes that the heap may grow between the first slices and the last. */
const growthBytes = 32 * 1024 * 1024;

interface Work {
  readonly seed: number;
  readonly frames: number;
}

interface Told {
  readonly done: number;
  readonly target: string;
  readonly heap: number;
}

/** Fuzzes `frames` frames; `tell` hears of each slice. Throws Finding. */
export async function fuzz({ seed, frames }: Work, tell: (told: Told) => void): Promise<void> {
  const all = targets(seed);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const shares = all.reduce((sum, { slow }) => sum + (slow === true ? slowShare : 1), 0);
  let done = 0;
  let first: number | undefined;
  for (const [index, target] of all.entries()) {
    const source = random(seed + index);
    const part = target.slow === true ? slowShare : 1;
    for (let left = Math.ceil((frames * part) / shares); left > 0;) {
      for (let slice = Math.min(left, sliceFrames * part); slice > 0;) {
        const fed = await target.feed(source);
        slice -= fed;
        left -= fed;
        done += fed;
      }
      // What closes at the next turn of the loop, as a zstd stream that has failed, is no growth.
      await new Promise((resolve) => setImmediate(resolve));
      // The first collection leaves buffers to be swept; what is there after the second is held by somebody.
      collect();
      collect();
      const heap = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
      first ??= heap;
      if (heap > first + growthBytes)
        throw new Error(`${target.name}: memory grew from ${first} to ${heap} bytes`);
      tell({ done, target: target.name, heap });
    }
    target.end?.();
  }
}

/** Runs the work in a thread and watches it. Rejects on a finding and on a hang. */
async function watched(work: Work): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { workerData: work });
  return new Promise((resolve, reject) => {
    let last: Told = { done: 0, target: "the corpus", heap: 0 };
    let timer: NodeJS.Timeout | undefined;
    const watch = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        void worker.terminate();
        reject(new Error(`${last.target}: no progress for ${hangMilliseconds / 1000} s behind ${last.done}`));
      }, hangMilliseconds);
    };
    watch();
    worker.on("message", (told: Told) => {
      if (told.target !== last.target) console.log(`${told.done} … ${told.target}`);
      last = told;
      watch();
    });
    worker.on("error", reject);
    worker.on("exit", () => {
      clearTimeout(timer);
      resolve(last.done);
    });
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { frames: { type: "string" }, seed: { type: "string" } } });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const frames = Number(values.frames ?? 10_000_000);
  if (!Number.isSafeInteger(seed) || seed < 0 || !Number.isSafeInteger(frames) || frames < 1) {
    console.error(
      `fuzz: error: found --seed ${seed} and --frames ${frames}, wanted whole numbers from 0 and from 1`,
    );
    process.exitCode = 2;
    return;
  }
  console.log(`fuzz: seed ${seed}, ${frames} frames`);
  const started = Date.now();
  try {
    const done = await watched({ seed, frames });
    console.log(`fuzz: ${done} frames without a finding in ${Math.round((Date.now() - started) / 1000)} s`);
  } catch (error) {
    console.error(`fuzz: error: ${error instanceof Error ? error.message : String(error)}`);
    console.error(`fuzz: hint: ./run fuzz --seed ${seed} --frames ${frames} does it again`);
    process.exitCode = 1;
  }
}

if (!isMainThread && parentPort !== null && (workerData as Work | undefined)?.frames !== undefined) {
  const port = parentPort;
  await fuzz(workerData as Work, (told) => port.postMessage(told));
} else if (isMainThread && process.argv[1] === import.meta.filename) {
  await main();
}
