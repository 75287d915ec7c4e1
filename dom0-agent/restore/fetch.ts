// The stream of a restore: windows of a plan become requests, their chunks fill slots, and workers open them. One request
// is open at a time; while the workers have no slot to spare, nothing more is read from the receiver.

import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import { AgentError } from "../errors.ts";
import type { Client } from "../archive/client.ts";
import { RefusedError } from "../archive/refused-error.ts";
import type { Crew } from "./crew.ts";
import type { JobResult, SlotChunk, Use } from "./job.ts";
import type { Fetch, Window } from "./plan.ts";

export interface FetchOptions {
  readonly client: Client;
  readonly crew: Crew;
  readonly containers: readonly ContainerRef[];
  readonly windows: Iterable<Window>;
  readonly use: (window: Window) => Use;
  /** A chunk is missing or damaged; what it throws ends the work. */
  readonly onBad: (fetch: Fetch, why: string) => void;
  /** Chunks have been dealt with. */
  readonly onDone: (fetches: readonly Fetch[], result: JobResult) => void;
  /** Everything of a window has been dealt with; the next one begins when it resolves. */
  readonly windowDone?: (window: Window) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Refusals that concern what was asked for, and not the connection or the destination as a whole. */
const aboutChunks: ReadonlySet<string> = new Set(["missing", "corrupt", "io", "unsupported"]);

/** Fetches and opens everything. Throws what onBad throws, AgentError or TransportError. */
export async function fetchWindows(on: FetchOptions): Promise<void> {
  for (const window of on.windows) {
    on.signal.throwIfAborted();
    const filler = slotFiller(on, on.use(window));
    for (const request of window.requests) await fetchRequest(on, filler, request);
    await filler.flush();
    if (on.windowDone === undefined) continue;
    await on.crew.drained();
    await on.windowDone(window);
  }
  await on.crew.drained();
}

async function fetchRequest(on: FetchOptions, filler: Filler, request: readonly Fetch[]): Promise<void> {
  for (let done = 0; done < request.length;) {
    const rest = request.slice(done);
    const container = on.containers[(rest[0]?.container ?? 0) - 1];
    if (container === undefined) throw new RangeError(`container ${rest[0]?.container ?? 0}`);
    const addresses = rest.map((each) => each.storedAddress);
    try {
      await on.client.readChunks(container.volume, container.session, addresses, (_address, untrusted) => {
        const fetch = request[done++];
        if (fetch === undefined) throw new RangeError(`chunk ${done} of ${request.length}`);
        if (untrusted === undefined) on.onBad(fetch, "is missing");
        else if (untrusted.length !== fetch.storedLength)
          on.onBad(fetch, `has ${untrusted.length} stored bytes, wanted ${fetch.storedLength}`);
        else return filler.add(fetch, untrusted);
        return undefined;
      });
    } catch (error) {
      if (!(error instanceof RefusedError) || !aboutChunks.has(error.code)) throw error;
      // Without its container, or with one that can't be opened, all are lost; otherwise the next one can't be read.
      const all = error.code === "missing" || error.code === "corrupt";
      const bad = all ? request.slice(done) : request.slice(done, done + 1);
      for (const each of bad) on.onBad(each, `can't be read: ${error.message}`);
      done += bad.length;
    }
  }
}

interface Filler {
  add(fetch: Fetch, untrusted: Uint8Array): Promise<void> | undefined;
  /** Gives what has gathered to a worker. */
  flush(): Promise<void>;
}

function slotFiller({ crew, onBad, onDone }: FetchOptions, use: Use): Filler {
  let slot: number | undefined;
  let used = 0;
  let fetches: Fetch[] = [];
  let chunks: SlotChunk[] = [];

  const flush = async (): Promise<void> => {
    if (slot === undefined) return;
    const mine = fetches;
    const job = { kind: "open", slot, chunks, use } as const;
    slot = undefined;
    [fetches, chunks, used] = [[], [], 0];
    await crew.submit(job, (result) => {
      const failed = new Set(result.bad.map((each) => each.index));
      for (const { index, why } of result.bad) {
        const fetch = mine[index];
        if (fetch !== undefined) onBad(fetch, `is damaged: ${why}`);
      }
      onDone(failed.size === 0 ? mine : mine.filter((_, i) => !failed.has(i)), result);
    });
  };
  const copy = (into: number, fetch: Fetch, untrusted: Uint8Array): void => {
    crew.slots[into]?.set(untrusted, used);
    const { id, checksum, storedLength, length, targets } = fetch;
    chunks.push({ offset: used, id, checksum, storedLength, length, targets });
    fetches.push(fetch);
    used += untrusted.length;
  };
  const addToNext = async (fetch: Fetch, untrusted: Uint8Array): Promise<void> => {
    await flush();
    slot = await crew.takeSlot();
    copy(slot, fetch, untrusted);
  };
  return {
    add: (fetch, untrusted) => {
      const room = slot === undefined ? 0 : (crew.slots[slot]?.length ?? 0) - used;
      if (slot === undefined || untrusted.length > room) return addToNext(fetch, untrusted);
      copy(slot, fetch, untrusted);
      return undefined;
    },
    flush,
  };
}

/** What a restore does about a chunk that is missing or damaged: it ends. */
export function damaged(volume: string, fetch: Fetch, why: string): AgentError {
  return new AgentError(
    "integrity",
    `${volume}: chunk at ${addressText(fetch.targets[0] ?? 0)}, stored under ${addressText(fetch.storedAddress)}, ${why}`,
    "sparsebak verify lists what is damaged; another session may not need that chunk",
  );
}

/** An address as chunk files are named. */
export function addressText(address: number): string {
  return `x${address.toString(16).padStart(16, "0")}`;
}

/** Bytes of the volume that the chunks make. */
export function targetBytes(fetches: readonly Fetch[]): number {
  let bytes = 0;
  for (const { targets, length } of fetches) {
    for (let i = 1; i < targets.length; i += 2) bytes += (targets[i] ?? 0) * length;
  }
  return bytes;
}
