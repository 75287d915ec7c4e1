// A worker thread: reads, checks and decompresses the chunks of one job after another into the job's slot, and writes
// them to the image where that is a file. All of it is synchronous: on two processors that was the fastest way.

import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { FormatError } from "../../protocol/errors.ts";
import { maxStoredLength } from "../../protocol/archive/types.ts";
import { type ChunkOpener, chunkOpener } from "../../protocol/seal/chunk-seal.ts";
import { freePlaintext, openChunk } from "../../protocol/seal/open-chunk.ts";
import { type ContainerReader, containerReader } from "./container.ts";
import { AssembleError, type AssembleErrorCode, systemCode } from "./errors.ts";
import {
  type JobChunk,
  stopRequest,
  type WorkerAnswer,
  type WorkerRequest,
  type WorkerSetup,
} from "./job.ts";
import { writeFully } from "./output-file.ts";
import type { Place } from "./places.ts";
import { formatAddress, printable } from "./printable.ts";

const niceness = 5;

function serve(port: NonNullable<typeof parentPort>, setup: WorkerSetup): void {
  const slots = setup.slots.map((each) => new Uint8Array(each));
  const reader = containerReader();
  let stored = new Uint8Array(0);
  const { idKey, sealed } = setup.keys;
  const seal = sealed && chunkOpener(sealed.groupKey, sealed.archive);

  const fill = (request: WorkerRequest, slot: Uint8Array): void => {
    let at = 0;
    for (const chunk of request.chunks) {
      const place = request.places[chunk.place];
      if (place === undefined) throw new RangeError(`place ${chunk.place} of ${request.places.length}`);
      if (stored.length < chunk.storedLength) stored = new Uint8Array(maxStoredLength(slot.length));
      const plaintext = open(reader, place, chunk, stored, idKey, seal);
      for (let i = 0; i < chunk.run; i++) {
        slot.set(plaintext, at);
        at += plaintext.length;
      }
      freePlaintext(plaintext);
    }
  };

  port.on("message", (request: WorkerRequest | typeof stopRequest) => {
    if (request === stopRequest) {
      port.close();
      return;
    }
    let failure: WorkerAnswer["failure"];
    try {
      const slot = slots[request.slot];
      if (slot === undefined) throw new RangeError(`slot ${request.slot} of ${slots.length}`);
      fill(request, slot);
      if (setup.outputFd !== undefined) write(setup.outputFd, setup.outputPath, request.chunks, slot);
    } catch (error) {
      failure = asFailure(error);
    }
    port.postMessage({ number: request.number, failure } satisfies WorkerAnswer);
  });
}

/** One chunk's plaintext, or an AssembleError that names chunk, session and file. */
function open(
  reader: ContainerReader,
  place: Place,
  chunk: JobChunk,
  buffer: Uint8Array,
  idKey: Uint8Array,
  seal: ChunkOpener | undefined,
): Uint8Array {
  try {
    const untrusted = reader.read(place, chunk.storedAddress, buffer.subarray(0, chunk.storedLength));
    if (untrusted !== undefined) return openChunk(untrusted, chunk, idKey, seal);
  } catch (error) {
    const code = systemCode(error);
    if (error instanceof FormatError) throw problem("corrupt-chunk", `is damaged: ${error.message}`);
    if (code !== undefined) throw problem("io", `can't be read: ${code}`);
    throw error;
  }
  throw problem("missing-chunk", "is missing");

  function problem(kind: AssembleErrorCode, what: string): AssembleError {
    const elsewhere = chunk.storedAddress !== chunk.address;
    const stored = elsewhere ? `, stored under ${formatAddress(chunk.storedAddress)},` : "";
    const file = printable(reader.pathOf(place, chunk.storedAddress));
    return new AssembleError(
      kind,
      `chunk at ${formatAddress(chunk.address)}${stored} ${what}, session ${place.session}, ${file}`,
    );
  }
}

/** Writes the chunks of a slot at their addresses, those side by side in one go. */
function write(fd: number, path: string, chunks: readonly JobChunk[], slot: Uint8Array): void {
  let from = 0;
  for (let i = 0; i < chunks.length;) {
    const address: number = chunks[i]?.address ?? 0;
    let bytes = 0;
    for (
      let chunk = chunks[i];
      chunk !== undefined && chunk.address === address + bytes;
      chunk = chunks[++i]
    ) {
      bytes += chunk.length * chunk.run;
    }
    writeFully(fd, slot.subarray(from, from + bytes), address, path);
    from += bytes;
  }
}

function asFailure(error: unknown): WorkerAnswer["failure"] {
  if (error instanceof AssembleError) return { code: error.code, message: error.message, hint: error.hint };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: "internal", message, hint: undefined };
}

/** The main thread's digest of the whole image can't be shared out, so on few processors the workers give way to it. */
function stepBack(): void {
  try {
    // Linux: a thread has a priority of its own, by its thread id.
    setPriority(Number(readlinkSync("/proc/thread-self").split("/").at(-1)), niceness);
  } catch {
    // Without /proc all threads are equal, which only costs time.
  }
}

if (parentPort !== null) {
  stepBack();
  serve(parentPort, workerData as WorkerSetup);
}
