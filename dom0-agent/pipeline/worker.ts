// The worker thread: one job in, one result out.

import { parentPort } from "node:worker_threads";
import type { Job, JobResult } from "./job.ts";
import { processJob, type Workspace, workspace } from "./process-job.ts";

/** What a worker answers: the result, or why there is none. Either way the buffer comes back. */
export type WorkerAnswer =
  | { readonly ok: true; readonly result: JobResult }
  | { readonly ok: false; readonly message: string; readonly buffer: ArrayBuffer };

let space: Workspace | undefined;

parentPort?.on("message", (job: Job) => {
  let answer: WorkerAnswer;
  try {
    if (space?.chunkSize !== job.task.chunkSize) space = workspace(job.task.chunkSize);
    answer = { ok: true, result: processJob(job, space) };
  } catch (error) {
    answer = {
      ok: false,
      message: error instanceof Error ? error.message : String(error),
      buffer: job.buffer,
    };
  }
  parentPort?.postMessage(answer, [job.buffer]);
});
