// Every chunk of a map, or of a manifest, fetched and opened, and nothing done with it. Damage is gathered: the check
// goes on to the end.

import type { ContainerRef } from "../../protocol/archive/manifest.ts";
import { type Bitmap, bitmap, setRange } from "../delta/bitmap.ts";
import type { Client } from "../archive/client.ts";
import type { Crew } from "./crew.ts";
import { addressText, fetchWindows, targetBytes } from "./fetch.ts";
import { type Fetch, planWindows, wideWindow } from "./plan.ts";
import type { MapStep } from "./record-source.ts";

export interface CheckOptions {
  readonly client: Client;
  readonly crew: Crew;
  readonly containers: readonly ContainerRef[];
  readonly steps: Iterable<MapStep>;
  /** Bytes of the volume and of a chunk. */
  readonly size: number;
  readonly chunkSize: number;
  /** Hears of each chunk that is missing or damaged. */
  readonly onLost?: (fetch: Fetch) => void;
  /** Bytes of the volume that have been checked. */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Reasons that are kept. */
const mostReasons = 20;

export async function checkChunks(on: CheckOptions): Promise<{
  readonly damaged: Bitmap;
  readonly reasons: readonly string[];
  readonly readBytes: number;
}> {
  const { size, chunkSize } = on;
  const damaged = bitmap(Math.ceil(size / chunkSize));
  const reasons: string[] = [];
  let readBytes = 0;
  let done = 0;
  await fetchWindows({
    client: on.client,
    crew: on.crew,
    containers: on.containers,
    windows: planWindows(on.steps, { size, chunkSize, windowChunks: wideWindow }),
    use: () => ({ kind: "check" }),
    onBad: (fetch, why) => {
      const { targets } = fetch;
      for (let i = 0; i < targets.length; i += 2) {
        const first = (targets[i] ?? 0) / chunkSize;
        setRange(damaged, first, first + (targets[i + 1] ?? 0));
      }
      on.onLost?.(fetch);
      const stored = addressText(fetch.storedAddress);
      if (reasons.length < mostReasons)
        reasons.push(`chunk at ${addressText(targets[0] ?? 0)}, stored under ${stored}, ${why}`);
      done += targetBytes([fetch]);
    },
    onDone: (fetches) => {
      for (const each of fetches) readBytes += each.storedLength;
      done += targetBytes(fetches);
      on.onProgress(done);
    },
    signal: on.signal,
  });
  return { damaged, reasons, readBytes };
}
