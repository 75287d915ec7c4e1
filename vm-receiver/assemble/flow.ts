// From jobs to the image in order. Workers run ahead within a window; what they have finished is taken here strictly in
// the order of addresses, holes as zeros, which is what the digest of the whole image and a stream need. Where the
// image is a file, a slot can be given up before its data was taken, because the data can be read back: long holes,
// which only this thread has to walk through, then don't stop the workers.

import { setImmediate } from "node:timers/promises";
import type { Crew } from "./crew.ts";
import { readFully } from "./files.ts";
import type { Job } from "./job.ts";

export interface Flow {
  readonly jobs: Iterator<Job, void>;
  readonly crew: Crew;
  readonly slots: readonly SharedArrayBuffer[];
  /** The image's file, once a job is done its data is in it; undefined where there is none. */
  readonly imageFd: number | undefined;
  readonly signal: AbortSignal;
  /** Takes the image's next bytes; they may be overwritten once it resolves. */
  take(bytes: Uint8Array): Promise<void> | void;
  /** Told once, when every chunk is in the image's file, though not all of it has been taken. */
  onWritten?(): void;
  /** Told how far the image has been taken, and chunks opened so far. */
  onProgress?(bytes: number, chunks: number): void;
}

/** A job on its way. */
interface Flight {
  readonly job: Job;
  readonly bytes: number;
  slot: number | undefined;
  state: "running" | "done" | "taken";
  done: Promise<void>;
}

/** Bytes of data that may be finished and not yet taken: what is to be read back should still be in memory. */
const maxLead: number = 512 * 1024 * 1024;
const pieceBytes: number = 1024 * 1024;
const zeros: Uint8Array = new Uint8Array(pieceBytes);

/** Runs all jobs and takes all of the image. Throws the error of the lowest address, or the signal's reason. */
export async function runFlow(flow: Flow): Promise<void> {
  const free = flow.slots.map((_, i) => i);
  const views = flow.slots.map((each) => new Uint8Array(each));
  const queue: Flight[] = [];
  let lead = 0;
  let ended = false;
  let buffer: Uint8Array | undefined;
  let taken = 0;
  let chunks = 0;
  let running = 0;

  const freeSlot = (): number | undefined => {
    const slot = free.pop();
    if (slot !== undefined || flow.imageFd === undefined) return slot;
    const given = queue.findLast((each) => each.slot !== undefined && each.state === "done");
    const found = given?.slot;
    if (given !== undefined) given.slot = undefined;
    return found;
  };
  const launch = (job: Job, slot: number): void => {
    const bytes = job.stretches.reduce((sum, each) => sum + each.data, 0);
    const flight: Flight = { job, bytes, slot, state: "running", done: Promise.resolve() };
    lead += bytes;
    queue.push(flight);
    running++;
    const finished = (): void => {
      flight.state = "done";
      running--;
      fill();
      if (ended && running === 0) flow.onWritten?.();
    };
    const failed = (error: unknown): never => {
      ended = true;
      throw error;
    };
    flight.done = flow.crew.run(job, slot).then(finished, failed);
    flight.done.catch(() => undefined); // whoever takes it in its turn sees it
  };
  const fill = (): void => {
    for (;;) {
      if (ended || lead >= maxLead) return;
      const slot = freeSlot();
      if (slot === undefined) return;
      try {
        const { done, value } = flow.jobs.next();
        if (done !== true) {
          launch(value, slot);
          continue;
        }
      } catch (error) {
        const done = Promise.reject(error instanceof Error ? error : new Error(String(error)));
        done.catch(() => undefined);
        const job = { start: taken, chunks: [], places: [], stretches: [] };
        queue.push({ job, bytes: 0, slot: undefined, state: "running", done });
      }
      free.push(slot);
      ended = true;
    }
  };
  const give = async (bytes: Uint8Array): Promise<void> => {
    await flow.take(bytes);
    taken += bytes.length;
    await setImmediate(); // lets the workers' messages in
    flow.signal.throwIfAborted();
  };
  const giveHole = async (length: number): Promise<void> => {
    for (let left = length; left > 0; left -= pieceBytes) {
      await give(left < pieceBytes ? zeros.subarray(0, left) : zeros);
      flow.onProgress?.(taken, chunks);
    }
  };
  const giveData = async (flight: Flight, from: number, length: number): Promise<void> => {
    const view = flight.slot === undefined ? undefined : views[flight.slot];
    if (view !== undefined) return give(view.subarray(from, from + length));
    buffer ??= new Uint8Array(Math.max(...views.map((each) => each.length)));
    const bytes = buffer.subarray(0, length);
    if (flow.imageFd !== undefined) readFully(flow.imageFd, bytes, taken);
    await give(bytes);
  };

  fill();
  for (let flight = queue[0]; flight !== undefined; flight = queue[0]) {
    await flight.done;
    flight.state = "taken";
    let from = 0;
    for (const { hole, data } of flight.job.stretches) {
      await giveHole(hole);
      if (data > 0) await giveData(flight, from, data);
      from += data;
    }
    chunks += flight.job.chunks.length;
    lead -= flight.bytes;
    queue.shift();
    if (flight.slot !== undefined) free.push(flight.slot);
    flow.onProgress?.(taken, chunks);
    fill();
  }
}
