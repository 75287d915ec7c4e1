// The data of a restore: into a file descriptor that takes it in any order, or as a stream from the first byte to the
// last. Every chunk is checked before a byte of it is written.

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import type { Bitmap } from "../delta/bitmap.ts";
import type { OpenArchive } from "../archive/archive.ts";
import { type Crew, startCrew } from "./crew.ts";
import { damaged, fetchWindows, targetBytes } from "./fetch.ts";
import { checkHoles } from "./passes.ts";
import { planWindows, wideWindow } from "./plan.ts";
import { punchHoles } from "./punch-holes.ts";
import type { SessionMap } from "./session-map.ts";

/** What the work on one volume shares. */
export interface Work {
  readonly open: OpenArchive;
  readonly volume: string;
  readonly map: SessionMap;
  readonly crew: Crew;
  /** Bytes done of how many. */
  readonly onProgress: (done: number, total: number) => void;
  readonly signal: AbortSignal;
}

export interface Restored {
  /** Bytes that came from the archive, in their stored form, and bytes that were written. */
  readonly fetchedBytes: number;
  readonly writtenBytes: number;
  /** Bytes of holes that were given back to the storage. */
  readonly discardedBytes: number;
}

/** Workers for one volume. They stop on `signal`. */
export function crewFor(
  open: OpenArchive,
  index: VolumeIndex,
  map: Pick<SessionMap, "size" | "chunkSize">,
  what: string,
  signal: AbortSignal,
): Crew {
  const crew = startCrew(
    { keys: open.seal.chunkKeys(index.group), size: map.size, chunkSize: map.chunkSize },
    what,
  );
  const stop = (): void => crew.fail(signal.reason as Error);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return crew;
}

/**
 * Makes `fd` what the map says: all of it, or the `wanted` chunks. Where `blank`, what is not written reads as zeros and
 * holes are left alone; otherwise they are given back to the storage, and read, and zeros written where there are none. Throws AgentError `integrity`
 * at the first chunk that is missing or damaged.
 */
export async function restoreInto(
  work: Work,
  target: { readonly fd: number; readonly blank: boolean },
  wanted?: Bitmap,
): Promise<Restored> {
  const { map, crew, volume, signal } = work;
  let fetchedBytes = 0;
  let writtenBytes = 0;
  let done = 0;
  await fetchWindows({
    client: work.open.client,
    crew,
    containers: map.containers,
    windows: planWindows(map.steps(), { ...map, windowChunks: wideWindow, wanted }),
    use: () => ({ kind: "write", fd: target.fd }),
    onBad: (fetch, why) => {
      throw damaged(volume, fetch, why);
    },
    onDone: (fetches, result) => {
      writtenBytes += result.written;
      for (const each of fetches) fetchedBytes += each.storedLength;
      done += targetBytes(fetches);
      work.onProgress(done, map.dataBytes);
    },
    signal,
  });
  let discardedBytes = 0;
  if (!target.blank) {
    discardedBytes = await punchHoles({ map, fd: target.fd, wanted, signal });
    const holes = await checkHoles({ crew, map, fd: target.fd, wanted, fix: true, signal });
    writtenBytes += holes.written;
  }
  return { fetchedBytes, writtenBytes, discardedBytes };
}

const streamBytes: number = 16 * 1024 * 1024;

/** Gives the whole volume to `write`, in order, holes as zeros. What it is given may be overwritten once it resolves. */
export async function restoreStream(
  work: Work,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<Restored> {
  const { map, crew, volume, signal } = work;
  const memory = new SharedArrayBuffer(streamBytes);
  const bytes = new Uint8Array(memory);
  let dirty = false;
  let fetchedBytes = 0;
  await fetchWindows({
    client: work.open.client,
    crew,
    containers: map.containers,
    windows: planWindows(map.steps(), { ...map, windowChunks: streamBytes / map.chunkSize }),
    use: (window) => {
      if (dirty) bytes.fill(0);
      dirty = window.requests.length > 0;
      return { kind: "place", memory, start: window.start };
    },
    onBad: (fetch, why) => {
      throw damaged(volume, fetch, why);
    },
    onDone: (fetches) => {
      for (const each of fetches) fetchedBytes += each.storedLength;
    },
    windowDone: async ({ start, end }) => {
      await write(bytes.subarray(0, end - start));
      work.onProgress(end, map.size);
    },
    signal,
  });
  return { fetchedBytes, writtenBytes: map.size, discardedBytes: 0 };
}
