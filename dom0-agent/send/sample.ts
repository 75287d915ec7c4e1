// The random re-read: a few chunks that should not have changed are read and compared by id at each send, so that a
// delta that misses something does not go on unnoticed (design section 5).

import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { chunkLength } from "../../protocol/archive/manifest.ts";
import { mapIdBytes } from "../../protocol/archive/map-root.ts";
import { bitmap, isSet } from "../delta/bitmap.ts";
import type { Bitmap } from "../delta/bitmap.ts";
import type { VolumeTask } from "../pipeline/job.ts";
import { readFully } from "../read-fully.ts";

/** What of a task a sample needs. */
type SampleTask = Pick<VolumeTask, "volumeFd" | "idsFd" | "knownChunks" | "size" | "chunkSize" | "idKey">;

/** `count` chunks drawn at random from those that `changed` leaves out. */
export function drawUnchanged(changed: Bitmap, count: number, random: () => number): readonly number[] {
  const drawn = bitmap(changed.length);
  const indices: number[] = [];
  for (let tries = 0; tries < count * 8 && indices.length < count; tries++) {
    const index = Math.floor(random() * changed.length);
    if (isSet(changed, index) || isSet(drawn, index)) continue;
    drawn.bytes[index >> 3] = (drawn.bytes[index >> 3] ?? 0) | (1 << (index & 7));
    indices.push(index);
  }
  return indices;
}

/** True when any of the chunks has another id than the map says. */
export function sampleDiffers(task: SampleTask, indices: readonly number[]): boolean {
  return indices.some((index) => index < task.knownChunks && !sameAsKnown(task, index));
}

function sameAsKnown(task: SampleTask, index: number): boolean {
  const { chunkSize, size } = task;
  const plain = new Uint8Array(chunkLength(index * chunkSize, size, chunkSize));
  readFully(task.volumeFd, plain, index * chunkSize, "the volume");
  const known = new Uint8Array(mapIdBytes);
  readFully(task.idsFd, known, index * mapIdBytes, "its id map");
  const id = plain.every((byte) => byte === 0) ? new Uint8Array(mapIdBytes) : chunkIdOf(task.idKey, plain);
  return Buffer.compare(id, known) === 0;
}
