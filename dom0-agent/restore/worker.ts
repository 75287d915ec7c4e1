// A worker thread of a restore: opens chunks and does with them what the job says. All of it is synchronous: on two
// processors that was the fastest way.

import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { chunkLength } from "../../protocol/archive/manifest.ts";
import { maxStoredLength } from "../../protocol/archive/types.ts";
import { mapIdBytes } from "../../protocol/archive/map-root.ts";
import { chunkOpener } from "../../protocol/seal/chunk-seal.ts";
import { FormatError } from "../../protocol/errors.ts";
import { freePlaintext, openChunk } from "../../protocol/seal/open-chunk.ts";
import {
  type BadChunk,
  type Job,
  type JobResult,
  stopRequest,
  type Stretch,
  type Use,
  type WorkerAnswer,
  type WorkerSetup,
} from "./job.ts";
import { readFully } from "../read-fully.ts";

interface Tally {
  readonly bad: BadChunk[];
  readonly differing: number[];
  written: number;
}

function serve(port: NonNullable<typeof parentPort>, setup: WorkerSetup): void {
  const { size, chunkSize, keys } = setup;
  const seal = keys.sealed && chunkOpener(keys.sealed.groupKey, keys.sealed.archive);
  const slots = setup.slots.map((each) => new Uint8Array(each));
  const present = Buffer.alloc(chunkSize);
  const zeros = Buffer.alloc(chunkSize);
  // zlib takes no shared memory.
  const stored = new Uint8Array(maxStoredLength(chunkSize));

  const slotOf = (number: number): Uint8Array => {
    const slot = slots[number];
    if (slot === undefined) throw new RangeError(`slot ${number} of ${slots.length}`);
    return slot;
  };
  const differs = (address: number, tally: Tally): void => {
    const index = address / chunkSize;
    const last = tally.differing.length - 2;
    if (last >= 0 && (tally.differing[last] ?? 0) + (tally.differing[last + 1] ?? 0) === index)
      tally.differing[last + 1] = (tally.differing[last + 1] ?? 0) + 1;
    else tally.differing.push(index, 1);
  };

  const put = (use: Use, plaintext: Uint8Array, address: number, tally: Tally): void => {
    switch (use.kind) {
      case "check":
        return;
      case "write":
        writeExactly(use.fd, plaintext, address);
        tally.written += plaintext.length;
        return;
      case "compare": {
        const there = present.subarray(0, plaintext.length);
        readFully(use.fd, there, address, "what is there");
        if (!there.equals(plaintext)) differs(address, tally);
        return;
      }
      case "place":
        new Uint8Array(use.memory).set(plaintext, address - use.start);
    }
  };
  const openAll = (job: Job & { readonly kind: "open" }, tally: Tally): void => {
    const slot = slotOf(job.slot);
    for (const [index, chunk] of job.chunks.entries()) {
      let plaintext: Uint8Array;
      try {
        const untrusted = stored.subarray(0, chunk.storedLength);
        untrusted.set(slot.subarray(chunk.offset, chunk.offset + chunk.storedLength));
        plaintext = openChunk(untrusted, chunk, keys.idKey, seal);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        tally.bad.push({ index, why: error.message });
        continue;
      }
      for (let i = 0; i < chunk.targets.length; i += 2) {
        const address = chunk.targets[i] ?? 0;
        for (let n = 0; n < (chunk.targets[i + 1] ?? 0); n++)
          put(job.use, plaintext, address + n * chunkSize, tally);
      }
      freePlaintext(plaintext);
    }
  };
  const eachChunk = (
    fd: number,
    { first, count }: Stretch,
    look: (there: Buffer, i: number) => void,
  ): void => {
    for (let i = 0; i < count; i++) {
      const address = (first + i) * chunkSize;
      const there = present.subarray(0, chunkLength(address, size, chunkSize));
      readFully(fd, there, address, "what is there");
      look(there, i);
    }
  };
  const isZero = (there: Buffer): boolean => there.equals(zeros.subarray(0, there.length));

  const perform = (job: Job): JobResult => {
    const tally: Tally = { bad: [], differing: [], written: 0 };
    switch (job.kind) {
      case "open":
        openAll(job, tally);
        break;
      case "ids": {
        const ids = slotOf(job.slot);
        eachChunk(job.fd, job.stretch, (there, i) => {
          const wanted = Buffer.from(ids.buffer, i * mapIdBytes, mapIdBytes);
          const same = isZero(there)
            ? wanted.equals(zeros.subarray(0, mapIdBytes))
            : wanted.equals(chunkIdOf(keys.idKey, there));
          if (!same) differs((job.stretch.first + i) * chunkSize, tally);
        });
        break;
      }
      case "zeros":
        eachChunk(job.fd, job.stretch, (there, i) => {
          if (isZero(there)) return;
          const address = (job.stretch.first + i) * chunkSize;
          differs(address, tally);
          if (!job.fix) return;
          writeExactly(job.fd, zeros.subarray(0, there.length), address);
          tally.written += there.length;
        });
    }
    return tally;
  };

  port.on(
    "message",
    ({ number, job }: { readonly number: number; readonly job: Job | typeof stopRequest }) => {
      if (job === stopRequest) {
        port.close();
        return;
      }
      let answer: WorkerAnswer;
      try {
        answer = { number, result: perform(job) };
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        answer = {
          number,
          failure: { code, message: error instanceof Error ? error.message : String(error) },
        };
      }
      port.postMessage(answer);
    },
  );
}

function writeExactly(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

if (parentPort !== null) serve(parentPort, workerData as WorkerSetup);
