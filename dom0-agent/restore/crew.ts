// The worker threads of a restore, and the slots that bound its memory: whoever has data for them waits for a free one.

import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { maxStoredLength } from "../../protocol/archive/types.ts";
import { InternalError } from "../../protocol/errors.ts";
import { AgentError } from "../errors.ts";
import { type Job, type JobResult, stopRequest, type WorkerAnswer, type WorkerSetup } from "./job.ts";

export interface Crew extends AsyncDisposable {
  /** The slots' memory, by their numbers. */
  readonly slots: readonly Uint8Array[];
  /** A slot of one's own, once one is free. Rejects once something has failed. */
  takeSlot(): Promise<number>;
  /** Has a job done by the worker with the least to do; `done` hears the result, and the slot, if any, is free again.
   *  Resolves at once, or where no slot bounds it, when few are under way. */
  submit(job: Job, done: (result: JobResult) => void): Promise<void>;
  /** Resolves when every job has been done. Rejects with the first failure. */
  drained(): Promise<void>;
  /** Lets all who wait fail with `reason`. */
  fail(reason: Error): void;
  /** Ends the threads; once it resolves, none of them touches a file any more. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>;
}

const maxWorkers = 4;
const slotTotal: number = 16 * 1024 * 1024;
/** Jobs without slots that may be under way, each. */
const queuedPerWorker = 4;

const workerFile: URL = new URL(
  import.meta.url.endsWith(".ts") ? "./worker.ts" : "./restore-worker.mjs",
  import.meta.url,
);

/** Bytes of a slot: several chunks, or one large one. */
function slotBytes(chunkSize: number): number {
  return Math.max(1024 * 1024, maxStoredLength(chunkSize));
}

interface Running {
  readonly member: { busy: number };
  readonly slot: number | undefined;
  readonly done: (result: JobResult) => void;
}

/** Starts as many workers as there are processors, at most 4. `what` says in messages of failures what is done. */
export function startCrew(setup: Omit<WorkerSetup, "slots">, what: string): Crew {
  const bytes = slotBytes(setup.chunkSize);
  const shared = Array.from(
    { length: Math.max(4, Math.floor(slotTotal / bytes)) },
    () => new SharedArrayBuffer(bytes),
  );
  const free = shared.map((_, i) => i);
  const running = new Map<number, Running>();
  const waiting = new Set<{ readonly resolve: () => void; readonly reject: (reason: Error) => void }>();
  let failure: Error | undefined;
  let count = 0;

  const wake = (): void => {
    for (const each of waiting) each.resolve();
    waiting.clear();
  };
  const fail = (reason: Error): void => {
    failure ??= reason;
    for (const each of waiting) each.reject(failure);
    waiting.clear();
  };
  /** Waits until `ready`, which may change whenever a job is done. */
  const until = async (ready: () => boolean): Promise<void> => {
    for (;;) {
      if (failure !== undefined) throw failure;
      if (ready()) return;
      await new Promise<void>((resolve, reject) => waiting.add({ resolve, reject }));
    }
  };
  const settle = (answer: WorkerAnswer): void => {
    const job = running.get(answer.number);
    if (job === undefined) return;
    running.delete(answer.number);
    job.member.busy--;
    if (job.slot !== undefined) free.push(job.slot);
    if ("failure" in answer) fail(failureOf(what, answer.failure));
    else if (failure === undefined) {
      try {
        job.done(answer.result);
      } catch (error) {
        fail(error as Error);
      }
    }
    wake();
  };
  const members = Array.from({ length: Math.min(maxWorkers, availableParallelism()) }, () => {
    const worker = new Worker(workerFile, { workerData: { ...setup, slots: shared } });
    const member = { worker, busy: 0 };
    worker.on("message", settle);
    worker.on("error", (error) => fail(new InternalError(`a worker thread died: ${String(error)}`)));
    worker.on("exit", () => fail(new InternalError("a worker thread ended")));
    return member;
  });

  return {
    slots: shared.map((each) => new Uint8Array(each)),
    takeSlot: async () => {
      await until(() => free.length > 0);
      return free.pop() ?? 0;
    },
    submit: async (job, done) => {
      const slot = job.kind === "zeros" ? undefined : job.slot;
      if (slot === undefined) await until(() => running.size < members.length * queuedPerWorker);
      if (failure !== undefined) throw failure;
      const member = members.reduce((best, each) => (each.busy < best.busy ? each : best));
      const number = count++;
      member.busy++;
      running.set(number, { member, slot, done });
      member.worker.postMessage({ number, job });
    },
    drained: async () => until(() => running.size === 0),
    fail,
    [Symbol.asyncDispose]: async () => {
      fail(new AgentError("failed", `${what}: stopped`));
      await Promise.all(members.map(async ({ worker }) => ended(worker)));
    },
  };
}

/** What a worker met is, but for a bug of ours, reading or writing the target. */
function failureOf(what: string, { code, message }: { code: string | undefined; message: string }): Error {
  if (code === undefined) return new InternalError(`${what}: ${message}`);
  const full = code === "ENOSPC" || code === "EDQUOT";
  return new AgentError(
    "failed",
    `${what}: ${message}`,
    full ? "make room where it is restored to" : undefined,
  );
}

/** Lets a worker end what it has been given, and leave. Node aborts the whole process when a thread is terminated in the
 *  middle of decompressing. */
async function ended(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return;
  await new Promise<void>((resolve) => {
    worker.once("exit", () => resolve());
    worker.postMessage({ number: -1, job: stopRequest });
  });
}
