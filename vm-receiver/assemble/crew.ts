// The worker threads, and who of them gets the next job.

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { AssembleError } from "./errors.ts";
import { type Job, stopRequest, type WorkerAnswer, type WorkerRequest, type WorkerSetup } from "./job.ts";

export interface Crew {
  /** Gives a job to the worker with the least to do; resolves once its chunks are in the slot, and in the image where
   *  that is a file. Rejects with AssembleError. */
  run(job: Job, slot: number): Promise<void>;
  /** Rejects everything under way and everything to come. */
  fail(reason: unknown): void;
  /** Ends the threads; once it resolves, none of them touches a file any more. */
  stop(): Promise<void>;
}

const maxWorkers = 4;

/** In dist/lib/ the worker is a bundle of its own beside the program. */
const workerFile: URL = new URL(
  import.meta.url.endsWith(".ts") ? "./worker.ts" : "./open-worker.mjs",
  import.meta.url,
);

interface Member {
  readonly worker: Worker;
  busy: number;
}

interface Waiting {
  readonly member: Member;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Starts as many workers as there are processors, at most 4. */
export function startCrew(setup: WorkerSetup): Crew {
  const waiting = new Map<number, Waiting>();
  let count = 0;
  let failed: { readonly reason: unknown } | undefined;

  const fail = (reason: unknown): void => {
    failed ??= { reason };
    for (const each of waiting.values()) each.reject(failed.reason);
    waiting.clear();
  };
  const settle = ({ number, failure }: WorkerAnswer): void => {
    const done = waiting.get(number);
    if (done === undefined) return;
    waiting.delete(number);
    done.member.busy--;
    if (failure === undefined) done.resolve();
    else done.reject(new AssembleError(failure.code, failure.message, failure.hint));
  };
  const members = Array.from({ length: Math.min(maxWorkers, availableParallelism()) }, () => {
    const worker = new Worker(workerFile, { workerData: setup });
    worker.on("message", settle);
    worker.on("error", (error) =>
      fail(new AssembleError("internal", `a worker thread died: ${String(error)}`)),
    );
    worker.on("exit", () => fail(new AssembleError("internal", "a worker thread ended")));
    return { worker, busy: 0 };
  });

  return {
    run: async (job, slot) => {
      if (failed !== undefined) throw failed.reason;
      const member = members.reduce((best, each) => (each.busy < best.busy ? each : best));
      const request: WorkerRequest = { number: count++, slot, chunks: job.chunks, places: job.places };
      member.busy++;
      await new Promise<void>((resolve, reject) => {
        waiting.set(request.number, { member, resolve, reject });
        member.worker.postMessage(request);
      });
    },
    fail,
    stop: async () => {
      fail(new AssembleError("stopped", "the workers were told to stop"));
      await Promise.all(members.map(({ worker }) => ended(worker)));
    },
  };
}

/** Lets a worker end what it has been given, and leave. Node aborts the whole process when a thread is terminated in the
 *  middle of decompressing. */
async function ended(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return;
  await new Promise<void>((resolve) => {
    worker.once("exit", () => resolve());
    worker.postMessage(stopRequest);
  });
}
