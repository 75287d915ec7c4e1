// Worker threads for the data path, and results in the order of the jobs. The window bounds memory: so many buffers
// are on their way, and no more, however large the volume is (design section 9).

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { jobBufferBytes, type JobResult, type VolumeTask } from "./job.ts";
import type { WorkerAnswer } from "./worker.ts";

export interface Pool extends AsyncDisposable {
  /**
   * Does the jobs that `runs` gives (pairs of first index and count, see Job) and hands the results to `use` one
   * after another, in order. A result's buffer is used again as soon as the promise of `use` resolves. Rejects with
   * the first error of a worker or of `use`, after all buffers have come home.
   */
  run(
    task: VolumeTask,
    runs: Iterable<Float64Array>,
    use: (result: JobResult) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
}

/** Buffers in flight per worker: one worked on, one waiting for it, one waiting for the pipe. */
const buffersPerWorker = 3;

const workerFile = import.meta.url.endsWith(".ts") ? "./worker.ts" : "./seal-worker.mjs";

/** More threads than these are ahead of any pipe, and each costs memory. */
const maxWorkers = 4;

/** MiB of a worker's heap. It holds next to nothing; the limit makes V8 collect compressed chunks' buffers, which live
 *  outside of it, in time: without, two workers grow by 100 MB. */
const workerHeapMiB = 32;

/** A pool of one worker per processor, four at most. Threads start with the first job. */
export function createPool(workers: number = Math.min(maxWorkers, availableParallelism())): Pool {
  const threads: Worker[] = [];
  let free: ArrayBuffer[] = [];
  let bufferSize = 0;

  const start = (): void => {
    const resourceLimits = { maxOldGenerationSizeMb: workerHeapMiB };
    while (threads.length < workers)
      threads.push(new Worker(new URL(workerFile, import.meta.url), { resourceLimits }));
  };

  return {
    run: async (task, runs, use, signal) => {
      start();
      if (bufferSize !== jobBufferBytes(task.chunkSize)) {
        bufferSize = jobBufferBytes(task.chunkSize);
        free = [];
      }
      while (free.length < workers * buffersPerWorker) free.push(new ArrayBuffer(bufferSize));
      await runJobs(threads, free, task, runs[Symbol.iterator](), use, signal);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}

async function runJobs(
  threads: readonly Worker[],
  free: ArrayBuffer[],
  task: VolumeTask,
  jobs: Iterator<Float64Array>,
  use: (result: JobResult) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const waiting = new Map<
    Worker,
    { resolve: (answer: WorkerAnswer) => void; reject: (error: Error) => void }[]
  >();
  const listeners = threads.map((thread) => listen(thread, waiting));
  const inOrder: Promise<WorkerAnswer>[] = [];
  let next = 0;

  const submit = (): boolean => {
    const buffer = free.pop();
    if (buffer === undefined) return false;
    const job = jobs.next();
    const thread = threads[next++ % threads.length];
    if (job.done === true || thread === undefined) {
      free.push(buffer);
      return false;
    }
    const answer = new Promise<WorkerAnswer>((resolve, reject) =>
      waiting.get(thread)?.push({ resolve, reject }),
    );
    // Awaited in order further down; a failure before its turn must not count as unhandled.
    answer.catch(() => undefined);
    inOrder.push(answer);
    thread.postMessage({ task, runs: job.value, buffer }, [buffer]);
    return true;
  };

  try {
    for (;;) {
      signal.throwIfAborted();
      while (submit());
      const first = inOrder.shift();
      if (first === undefined) return;
      const answer = await first;
      if (!answer.ok) {
        free.push(answer.buffer);
        throw new Error(answer.message);
      }
      try {
        await use(answer.result);
      } finally {
        free.push(answer.result.buffer);
      }
    }
  } finally {
    for (const answer of await Promise.allSettled(inOrder)) {
      if (answer.status === "fulfilled")
        free.push(answer.value.ok ? answer.value.result.buffer : answer.value.buffer);
    }
    for (const stop of listeners) stop();
  }
}

function listen(
  thread: Worker,
  waiting: Map<Worker, { resolve: (answer: WorkerAnswer) => void; reject: (error: Error) => void }[]>,
): () => void {
  const queue: { resolve: (answer: WorkerAnswer) => void; reject: (error: Error) => void }[] = [];
  waiting.set(thread, queue);
  const onMessage = (answer: WorkerAnswer): void => queue.shift()?.resolve(answer);
  const onError = (error: Error): void => {
    for (const each of queue.splice(0)) each.reject(error);
  };
  const onExit = (code: number): void => onError(new Error(`a worker thread ended with ${code}`));
  thread.on("message", onMessage).on("error", onError).on("exit", onExit);
  return () => void thread.off("message", onMessage).off("error", onError).off("exit", onExit);
}
