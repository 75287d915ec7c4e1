// A storage read by its interface, in one call each.

import assert from "node:assert/strict";
import { readSync } from "node:fs";
import type { Extent } from "../../../dom0-agent/delta/extent.ts";
import type {
  OpenVolume,
  Snapshot,
  SnapshotRequest,
  Storage,
  VolumeState,
} from "../../../dom0-agent/storage/storage.ts";

const mib = 1 << 20;

export interface Frozen extends AsyncDisposable {
  readonly open: OpenVolume;
  mapped(): Promise<readonly Extent[]>;
  drop(): Promise<void>;
}

/** A volume held still by what the storage can do: a snapshot, or nothing. */
export async function freeze(storage: Storage, name: string): Promise<Frozen> {
  if (!storage.capabilities.snapshots) {
    const state = await stateOf(storage, name);
    const open = await storage.openVolume(state);
    const mapped = async (): Promise<readonly Extent[]> => list(storage.mappedOf(state));
    const close = async (): Promise<void> => open[Symbol.asyncDispose]();
    return { open, mapped, drop: close, [Symbol.asyncDispose]: close };
  }
  const snapshot = await take(storage, name, "tock");
  const open = await storage.openSnapshot(snapshot);
  const drop = async (): Promise<void> => {
    await open[Symbol.asyncDispose]();
    await storage.dropSnapshots([snapshot]);
  };
  return {
    open,
    mapped: async () => storage.withMetadata(async (deltas) => list(deltas.mapped(snapshot))),
    drop,
    // What is left behind goes with the harness.
    [Symbol.asyncDispose]: async () => open[Symbol.asyncDispose](),
  };
}

export function request(volume: string, label: string): SnapshotRequest {
  return { volume, label, committed: false };
}

/** One snapshot, or the error that there was. */
export async function take(storage: Storage, volume: string, label: string): Promise<Snapshot> {
  const [outcome] = await storage.createSnapshots([request(volume, label)]);
  if (outcome?.ok !== true) throw outcome?.error ?? new Error("no outcome");
  return outcome.snapshot;
}

export async function stateOf(storage: Storage, name: string): Promise<VolumeState> {
  const survey = await storage.survey([name]);
  const state = survey.volumes.get(name);
  assert.ok(state, survey.unusable.get(name) ?? `${name} is not there`);
  return state;
}

export async function readAll(volume: OpenVolume): Promise<Buffer> {
  const bytes = Buffer.alloc(volume.size);
  for (let at = 0; at < bytes.length;) {
    const count = readSync(volume.fd, bytes, at, Math.min(mib, bytes.length - at), at);
    assert.ok(count > 0, `reading ends at ${at}`);
    at += count;
  }
  assert.equal(readSync(volume.fd, Buffer.alloc(512), 0, 512, volume.size), 0, "there is more than its size");
  return bytes;
}

export async function list(extents: AsyncIterable<Extent>): Promise<readonly Extent[]> {
  return Array.fromAsync(extents);
}
