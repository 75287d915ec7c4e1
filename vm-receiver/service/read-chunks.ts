// readChunks: stored forms out of one container. They are read straight into the frames that leave, in two buffers of
// about a MiB that take turns, so that the disk is read while the pipe is drained and nothing is allocated a chunk.

import { setImmediate as nextTurn } from "node:timers/promises";
import { type ChunkAddress, maxChunkSize, maxStoredLength } from "../../protocol/archive/types.ts";
import { FormatError } from "../../protocol/errors.ts";
import { frameHeaderBytes, writeFrameHeader } from "../../protocol/wire/frame.ts";
import type { ReadChunks } from "../../protocol/wire/messages.ts";
import { RefusalError } from "../errors.ts";
import { type Archive, corruptUnless, findContainer } from "../store/archive.ts";
import type { StoredChunks } from "../store/stored-chunks.ts";
import { stores } from "../store/stores.ts";

const batchBytes = 1024 * 1024;
const addressBytes = 8;

/** Chunks of one container. */
export interface ChunkSource extends Disposable {
  readonly chunks: StoredChunks;
  /** Bytes of the longest stored form that is given away. */
  readonly longest: number;
}

/** Opens the container. RefusalError `missing` where it is not there, `corrupt` where its tar can't be read. */
export function openChunks(archive: Archive | undefined, asked: ReadChunks): ChunkSource {
  using found = archive && findContainer(archive, asked);
  const container = found?.container;
  const chunks =
    found &&
    corruptUnless("the container", () =>
      stores[found.container.form].chunks(found.directory, found.container.name),
    );
  if (container === undefined || chunks === undefined)
    throw new RefusalError("missing", "there is no such container");
  // It only bounds what is given away: what chunks are, the agent knows without the header.
  const chunkSize = unlessCorrupt(() => archive?.header()?.header.chunkSize) ?? maxChunkSize;
  return {
    chunks,
    longest: maxStoredLength(chunkSize),
    [Symbol.dispose]: () => chunks[Symbol.dispose](),
  };
}

function unlessCorrupt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof RefusalError) return undefined;
    throw error;
  }
}

export interface ChunkWatch {
  readonly id: number;
  /** A chunk of so many bytes is about to leave. */
  readonly onStored: (bytes: number) => void;
  /** Hands bytes to the pipe, which must not change before it resolves. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Sends a `stored` frame for each address, in order. Gives the number of stored bytes. What is damaged in a way that it
 *  can't be sent counts as missing; what the system can't read (EIO) is thrown, for that may be all of the drive. */
export async function streamChunks(
  { chunks, longest }: ChunkSource,
  addresses: readonly ChunkAddress[],
  { id, onStored, write, signal }: ChunkWatch,
): Promise<number> {
  const largestFrame = frameHeaderBytes + addressBytes + longest;
  const size = Math.max(batchBytes, largestFrame);
  const batches = [new Uint8Array(size), new Uint8Array(size)].map((bytes) => ({
    bytes,
    view: new DataView(bytes.buffer),
    left: Promise.resolve(),
  }));
  let [batch, other] = batches as [(typeof batches)[0], (typeof batches)[0]];
  let used = 0;
  let total = 0;

  const flush = async (): Promise<void> => {
    batch.left = write(batch.bytes.subarray(0, used));
    [batch, other] = [other, batch];
    used = 0;
    await batch.left;
    // The heartbeat and the other side's words have their turn, also where the pipe never makes us wait.
    await nextTurn();
  };

  for (const address of addresses) {
    if (used + largestFrame > size) await flush();
    if (signal.aborted) return total;
    const body = used + frameHeaderBytes;
    const data = body + addressBytes;
    const length = readOrNothing(chunks, address, batch.bytes.subarray(data, data + longest));
    writeFrameHeader(batch.bytes, used, "stored", id, addressBytes + length);
    batch.view.setUint32(body, Math.floor(address / 2 ** 32));
    batch.view.setUint32(body + 4, address % 2 ** 32);
    onStored(length);
    used = data + length;
    total += length;
  }
  if (used > 0) await flush();
  await Promise.all(batches.map(async (each) => each.left));
  return total;
}

function readOrNothing(chunks: StoredChunks, address: ChunkAddress, into: Uint8Array): number {
  try {
    const length = chunks.read(address, into) ?? 0;
    return length > into.length ? 0 : length;
  } catch (error) {
    if (error instanceof FormatError) return 0;
    throw error;
  }
}
