// What every Storage has to do, whatever holds the volumes. The cases are plain functions with node:assert, because they
// also run where there is no vitest: LVM's in a guest. Every write is kept in a model beside the volume, and what
// the storage says and gives is compared with that.

import assert from "node:assert/strict";
import { fstatSync, readSync } from "node:fs";
import type { Extent } from "../../dom0-agent/delta/extent.ts";
import {
  type OpenVolume,
  type Snapshot,
  type SnapshotRequest,
  type Storage,
  StorageError,
  type StorageErrorCode,
  type VolumeState,
} from "../../dom0-agent/storage/storage.ts";
import { InternalError } from "../../protocol/errors.ts";

/** A place of its own for one case: volumes, and the storage that is tried on them. */
export interface StorageHarness extends AsyncDisposable {
  readonly storage: Storage;
  /** Makes a volume of zeros, `size` bytes, a multiple of 4 MiB, that occupies nothing yet. */
  makeVolume(name: string, size: number): void;
  /** Writes so that the storage has to see it, at once and without any further sync. */
  writeAt(name: string, offset: number, bytes: Uint8Array): void;
  /** Makes a hole; both numbers are multiples of 1 MiB. */
  discard(name: string, offset: number, length: number): void;
  resize(name: string, size: number): void;
  remove(name: string): void;
}

/** One test of the suite. It passes unless it throws. */
export interface StorageCase {
  readonly name: string;
  run(): Promise<void>;
}

const mib = 1 << 20;
/** Block in which contents are compared: what is written smaller counts for the whole of it. */
const block = 4096;

/** A volume with what must be in it. */
class Model {
  readonly name: string;
  readonly #harness: StorageHarness;
  readonly #random: () => number;
  bytes: Buffer;

  constructor(harness: StorageHarness, name: string, size: number, seed = 1) {
    this.name = name;
    this.#harness = harness;
    this.#random = numbers(seed);
    this.bytes = Buffer.alloc(size);
    harness.makeVolume(name, size);
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset);
    this.#harness.writeAt(this.name, offset, bytes);
  }

  discard(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
    this.#harness.discard(this.name, offset, length);
  }

  /** What lies beyond the new end is gone for good; a volume that grows again need not show zeros there. */
  resize(size: number): void {
    const before = this.bytes;
    this.bytes = Buffer.alloc(size);
    before.copy(this.bytes);
    this.#harness.resize(this.name, size);
  }

  /** Random stretches of noise, some of zeros, some written with what is there already, and holes. */
  churn(rounds: number): void {
    for (let i = 0; i < rounds; i++) {
      const kind = this.#random() % 8;
      const length = kind === 0 ? 512 : ((this.#random() % 64) + 1) * block;
      const offset = (this.#random() % Math.floor((this.bytes.length - length) / 512)) * 512;
      if (kind === 1) this.write(offset, Buffer.from(this.bytes.subarray(offset, offset + length)));
      else if (kind === 2) this.write(offset, Buffer.alloc(length));
      else if (kind === 3) this.discard((this.#random() % (this.bytes.length / mib)) * mib, mib);
      else this.write(offset, noise(length, this.#random()));
    }
  }
}

/**
 * The suite. `make` gives each case a harness of its own; `capable` is what the storage must be capable of, and chooses
 * the cases. Nothing is made until a case runs, so the names can be had anywhere.
 */
export function storageCases(
  make: () => Promise<StorageHarness>,
  capable: { readonly snapshots: boolean },
): readonly StorageCase[] {
  const withHarness = (name: string, run: (harness: StorageHarness) => Promise<void>): StorageCase => ({
    name,
    run: async () => {
      await using harness = await make();
      await run(harness);
    },
  });
  return [...commonCases(withHarness), ...(capable.snapshots ? snapshotCases : plainCases)(withHarness)];
}

type CaseMaker = (name: string, run: (harness: StorageHarness) => Promise<void>) => StorageCase;

const commonCases = (add: CaseMaker): readonly StorageCase[] => [
  add("a survey tells of the volumes that are there, and leaves out what is not", async (harness) => {
    harness.makeVolume("vm-one-private", 4 * mib);
    harness.makeVolume("two", 8 * mib);
    const survey = await harness.storage.survey(["vm-one-private", "two", "vm-three-private"]);
    assert.deepEqual([...survey.volumes.keys()].sort(), ["two", "vm-one-private"]);
    assert.equal(survey.volumes.get("vm-one-private")?.size, 4 * mib);
    assert.equal(survey.volumes.get("two")?.size, 8 * mib);
    assert.equal(survey.volumes.get("two")?.crash, false);
    assert.notEqual(survey.volumes.get("two")?.uuid, survey.volumes.get("vm-one-private")?.uuid);
    assert.deepEqual([...survey.unusable], []);
    assert.deepEqual(survey.snapshots, []);
    assert.ok(survey.pool.uuid.length > 0 && survey.pool.chunkSize >= 512);
  }),

  add("a survey of nothing tells of the pool alone", async (harness) => {
    harness.makeVolume("two", 4 * mib);
    const survey = await harness.storage.survey([]);
    assert.equal(survey.volumes.size, 0);
    assert.equal((await harness.storage.survey(["two"])).pool.uuid, survey.pool.uuid);
  }),

  add(
    "a volume keeps its uuid while it is written to, and is another one when it was made anew",
    async (harness) => {
      const model = new Model(harness, "vm-one-private", 4 * mib);
      const before = await stateOf(harness.storage, model.name);
      model.write(0, noise(block, 1));
      assert.equal((await stateOf(harness.storage, model.name)).uuid, before.uuid);
      harness.remove(model.name);
      // A file system may give the next file the inode that has just become free.
      harness.makeVolume("other", 4 * mib);
      harness.makeVolume(model.name, 4 * mib);
      assert.notEqual((await stateOf(harness.storage, model.name)).uuid, before.uuid);
    },
  ),

  add("what was written is what is read, and the rest is zeros", async (harness) => {
    const model = new Model(harness, "vm-one-private", 16 * mib);
    model.churn(12);
    model.write(model.bytes.length - 512, noise(512, 9));
    await using source = await freeze(harness.storage, model.name);
    assertSame(await readAll(source.open), model.bytes);
  }),

  add("what is mapped covers all that is not zero, rises, and stays within the volume", async (harness) => {
    const model = new Model(harness, "vm-one-private", 16 * mib, 2);
    model.churn(16);
    model.write(model.bytes.length - 512, noise(512, 9));
    await using source = await freeze(harness.storage, model.name);
    const mapped = await source.mapped();
    assertRising(mapped, model.bytes.length);
    assertCovers(mapped, differences(model.bytes, Buffer.alloc(model.bytes.length)));
  }),

  add("nothing is mapped of a volume that was never written to", async (harness) => {
    harness.makeVolume("vm-one-private", 16 * mib);
    await using source = await freeze(harness.storage, "vm-one-private");
    assert.equal(total(await source.mapped()) < 16 * mib, true);
    assertSame(await readAll(source.open), Buffer.alloc(16 * mib));
  }),

  add("a volume that grew and shrank has the size that it has now", async (harness) => {
    const model = new Model(harness, "vm-one-private", 8 * mib);
    for (const size of [16, 4, 12]) {
      model.resize(size * mib);
      model.write(size * mib - 512, noise(512, size));
      await using source = await freeze(harness.storage, model.name);
      assert.equal(source.open.size, size * mib);
      const read = await readAll(source.open);
      assertSame(read.subarray(0, 4 * mib - block), model.bytes.subarray(0, 4 * mib - block));
      assertSame(read.subarray(-512), model.bytes.subarray(-512));
      const mapped = await source.mapped();
      assertRising(mapped, size * mib);
      assertCovers(mapped, differences(read, Buffer.alloc(size * mib)));
      await source.drop();
    }
  }),

  add("closing gives the descriptor back, and closing twice does no harm", async (harness) => {
    harness.makeVolume("vm-one-private", 4 * mib);
    await using source = await freeze(harness.storage, "vm-one-private");
    const { fd } = source.open;
    fstatSync(fd);
    await source.open[Symbol.asyncDispose]();
    assert.throws(() => fstatSync(fd), { code: "EBADF" });
    await source.open[Symbol.asyncDispose]();
  }),

  add("recover does nothing where nothing was left", async (harness) => {
    harness.makeVolume("vm-one-private", 4 * mib);
    const before = await harness.storage.survey(["vm-one-private"]);
    await harness.storage.recover();
    await harness.storage.recover();
    const after = await harness.storage.survey(["vm-one-private"]);
    assert.deepEqual([...after.volumes], [...before.volumes]);
    assert.deepEqual(after.snapshots, before.snapshots);
  }),
];

/** Of storages that can freeze a volume. */
const snapshotCases = (add: CaseMaker): readonly StorageCase[] => [
  add("it says that it can take snapshots and compare them", async ({ storage }) => {
    assert.deepEqual(storage.capabilities, { snapshots: true, delta: true });
  }),

  add("a survey of all finds every volume, and no snapshot of ours", async (harness) => {
    for (const name of ["vm-one-private", "vm-a-b-root", "two"]) harness.makeVolume(name, 4 * mib);
    await take(harness.storage, "two", "tick");
    const survey = await harness.storage.survey([], { all: true });
    assert.deepEqual([...survey.volumes.keys()].sort(), ["two", "vm-a-b-root", "vm-one-private"]);
  }),

  add("a snapshot stays as it was made, read-only, and is known by its name and size", async (harness) => {
    const model = new Model(harness, "vm-one-private", 8 * mib);
    model.churn(6);
    const then = Buffer.from(model.bytes);
    const volume = await stateOf(harness.storage, model.name);
    const [outcome] = await harness.storage.createSnapshots([request(model.name, "tock")]);
    assert.ok(outcome?.ok);
    const { snapshot, source } = outcome;
    model.churn(6);
    model.resize(12 * mib);
    assert.deepEqual([snapshot.volume, snapshot.label, snapshot.size], [model.name, "tock", 8 * mib]);
    assert.equal(snapshot.readOnly, true);
    assert.deepEqual(source, volume);
    assert.ok(Math.abs(snapshot.createdAt - Date.now()) < 600_000, `made at ${snapshot.createdAt}`);
    const survey = await harness.storage.survey([]);
    assert.deepEqual(survey.snapshots, [snapshot]);
    await using open = await harness.storage.openSnapshot(snapshot);
    assertSame(await readAll(open), then);
    await open.checkUnchanged();
  }),

  add("one request that can't be met does not stop the others", async (harness) => {
    for (const name of ["vm-one-private", "two"]) harness.makeVolume(name, 4 * mib);
    const names = ["no-such-volume", "vm-one-private", "two"];
    const outcomes = await harness.storage.createSnapshots(names.map((name) => request(name, "tock")));
    assert.deepEqual(
      outcomes.map((each) => each.ok),
      [false, true, true],
    );
    const [first] = outcomes;
    assert.ok(first?.ok === false);
    assert.deepEqual([first.volume, first.error.code], ["no-such-volume", "gone"]);
    assert.equal((await harness.storage.survey([])).snapshots.length, 2);
  }),

  add("a label that is taken is refused, and what has it stays", async (harness) => {
    harness.makeVolume("two", 4 * mib);
    const first = await take(harness.storage, "two", "tock");
    const [again] = await harness.storage.createSnapshots([request("two", "tock")]);
    assert.ok(again?.ok === false);
    assert.equal(again.error.code, "unusable");
    assert.deepEqual((await harness.storage.survey([])).snapshots, [first]);
  }),

  add("another label is another name and nothing else", async (harness) => {
    const model = new Model(harness, "two", 4 * mib);
    model.churn(2);
    const tock = await take(harness.storage, "two", "tock");
    const old = await take(harness.storage, "two", "tick");
    await harness.storage.relabelSnapshots([
      { snapshot: old, label: "send-0a1B2c3D" },
      { snapshot: tock, label: "tick" },
    ]);
    const { snapshots } = await harness.storage.survey([]);
    const found = new Map(snapshots.map((each) => [each.uuid, each]));
    assert.deepEqual(found.get(tock.uuid), { ...tock, label: "tick", name: found.get(tock.uuid)?.name });
    assert.equal(found.get(old.uuid)?.label, "send-0a1B2c3D");
    // The old object still means the same snapshot.
    await using open = await harness.storage.openSnapshot(tock);
    assertSame(await readAll(open), model.bytes);
  }),

  add("what is dropped is gone, once and for all; dropping it again is fine", async (harness) => {
    harness.makeVolume("two", 4 * mib);
    const tock = await take(harness.storage, "two", "tock");
    const tick = await take(harness.storage, "two", "tick");
    await harness.storage.dropSnapshots([tock]);
    await harness.storage.dropSnapshots([tock]);
    assert.deepEqual((await harness.storage.survey([])).snapshots, [tick]);
    await rejects(harness.storage.openSnapshot(tock), "gone");
    await rejects(harness.storage.relabelSnapshots([{ snapshot: tock, label: "send-1" }]), "gone");
    await rejects(
      harness.storage.withMetadata(async (deltas) => list(deltas.between(tock, tick))),
      "gone",
    );
    await rejects(
      harness.storage.withMetadata(async (deltas) => list(deltas.mapped(tock))),
      "gone",
    );
    assert.equal((await harness.storage.survey(["two"])).volumes.size, 1);
  }),

  add(
    "a delta names all that differs: writes, holes, equal bytes, snapshots of any age and order",
    async (harness) => {
      const model = new Model(harness, "vm-one-private", 16 * mib, 3);
      const labels = ["tick", "tock", "send-1"];
      const taken: { readonly snapshot: Snapshot; readonly bytes: Buffer }[] = [];
      for (const label of labels) {
        model.churn(8);
        taken.push({
          snapshot: await take(harness.storage, model.name, label),
          bytes: Buffer.from(model.bytes),
        });
      }
      model.churn(4);
      await harness.storage.withMetadata(async (deltas) => {
        for (const from of taken) {
          for (const to of taken) {
            const delta = await list(deltas.between(from.snapshot, to.snapshot));
            assertRising(delta, to.snapshot.size);
            assertCovers(delta, differences(from.bytes, to.bytes));
            if (from === to) assert.deepEqual(delta, [], "of a snapshot and itself");
          }
        }
      });
    },
  ),

  add("a delta is empty where nothing was written", async (harness) => {
    const model = new Model(harness, "vm-one-private", 8 * mib, 4);
    model.churn(6);
    const tick = await take(harness.storage, model.name, "tick");
    const tock = await take(harness.storage, model.name, "tock");
    assert.deepEqual(
      await harness.storage.withMetadata(async (deltas) => list(deltas.between(tick, tock))),
      [],
    );
  }),

  add("a delta costs what changed: one block, not the volume", async (harness) => {
    const model = new Model(harness, "vm-one-private", 16 * mib, 5);
    model.churn(24);
    const { chunkSize } = (await harness.storage.survey([])).pool;
    const tick = await take(harness.storage, model.name, "tick");
    model.write(5 * mib + block, noise(block, 5));
    const tock = await take(harness.storage, model.name, "tock");
    const delta = await harness.storage.withMetadata(async (deltas) => list(deltas.between(tick, tock)));
    assert.equal(total(delta), chunkSize);
  }),

  add("a delta ends with the volume, and has what is mapped beyond the smaller end", async (harness) => {
    const model = new Model(harness, "vm-one-private", 16 * mib, 6);
    model.churn(8);
    model.write(0, noise(block, 1));
    model.write(15 * mib, noise(mib, 2));
    const large = await take(harness.storage, model.name, "tick");
    model.resize(8 * mib);
    const small = await take(harness.storage, model.name, "tock");
    model.resize(16 * mib);
    model.write(12 * mib, noise(block, 3));
    const grown = await take(harness.storage, model.name, "send-1");
    await using open = await harness.storage.openSnapshot(grown);
    const bytes = await readAll(open);
    await harness.storage.withMetadata(async (deltas) => {
      const shrunk = await list(deltas.between(large, small));
      assertRising(shrunk, 8 * mib);
      assert.deepEqual(shrunk, [], "cutting off writes nothing");
      const more = await list(deltas.between(small, grown));
      assertRising(more, 16 * mib);
      // Whatever can be read there was not there before; below the smaller end nothing was written.
      assertCovers(more, differences(bytes, Buffer.alloc(8 * mib), 8 * mib));
      assert.ok(
        more.every((each) => each.offset >= 8 * mib),
        JSON.stringify(more),
      );
      assertCovers(await list(deltas.between(large, grown)), [{ offset: 12 * mib, length: block }]);
    });
  }),

  add("the metadata is let go of, whatever becomes of its user", async (harness) => {
    const model = new Model(harness, "vm-one-private", 4 * mib);
    model.churn(2);
    const tick = await take(harness.storage, model.name, "tick");
    const failing = harness.storage.withMetadata(async () => Promise.reject(new Error("of the caller")));
    await assert.rejects(failing, { message: "of the caller" });
    const cut = harness.storage.withMetadata(async (deltas) => {
      for await (const extent of deltas.mapped(tick)) return extent;
      return undefined;
    });
    assert.ok(await cut);
    const stop = new AbortController();
    const aborted = harness.storage.withMetadata(async (deltas) => {
      stop.abort();
      return list(deltas.mapped(tick));
    }, stop.signal);
    await assert.rejects(aborted, { name: "AbortError" });
    assert.notDeepEqual(await harness.storage.withMetadata(async (deltas) => list(deltas.mapped(tick))), []);
  }),

  add("plain volumes are not read", async ({ storage }) => {
    const volume: VolumeState = { name: "two", uuid: "-", size: mib, crash: false };
    await assert.rejects(async () => storage.openVolume(volume), InternalError);
    await assert.rejects(async () => list(storage.mappedOf(volume)), InternalError);
  }),
];

/** Of storages that have to read the volume itself. */
const plainCases = (add: CaseMaker): readonly StorageCase[] => [
  add("it says that it can't take snapshots, and takes none", async ({ storage }) => {
    assert.deepEqual(storage.capabilities, { snapshots: false, delta: false });
    await assert.rejects(storage.createSnapshots([request("two", "tick")]), InternalError);
    await assert.rejects(storage.relabelSnapshots([]), InternalError);
    await assert.rejects(storage.dropSnapshots([]), InternalError);
    await assert.rejects(
      storage.withMetadata(async () => undefined),
      InternalError,
    );
  }),

  add("what was written while it was read is told, and what was not is no lie", async (harness) => {
    const model = new Model(harness, "two", 8 * mib);
    model.churn(4);
    const volume = await stateOf(harness.storage, "two");
    await using open = await harness.storage.openVolume(volume);
    assertSame(await readAll(open), model.bytes);
    await open.checkUnchanged();
    model.write(0, model.bytes.subarray(0, 512));
    await rejects(open.checkUnchanged(), "changed");
  }),

  add("a volume that was replaced, resized or removed is told", async (harness) => {
    for (const change of ["resize", "replace", "remove"] as const) {
      harness.makeVolume("two", 8 * mib);
      const volume = await stateOf(harness.storage, "two");
      await using open = await harness.storage.openVolume(volume);
      if (change === "resize") harness.resize("two", 4 * mib);
      else harness.remove("two");
      if (change === "replace") harness.makeVolume("two", 8 * mib);
      await assert.rejects(open.checkUnchanged(), isError("changed", "gone"), change);
      await assert.rejects(harness.storage.openVolume(volume), isError("changed", "gone"), change);
      await assert.rejects(list(harness.storage.mappedOf(volume)), isError("changed", "gone"), change);
      if (change !== "remove") harness.remove("two");
    }
  }),
];

// ---------------------------------------------------------------- reading

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

function request(volume: string, label: string): SnapshotRequest {
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

// ---------------------------------------------------------------- judging

/** Stretches of whole blocks in which two contents differ, from `start`; where one has ended, the other is all new. */
export function differences(left: Buffer, right: Buffer, start = 0): readonly Extent[] {
  const found: Extent[] = [];
  for (let at = start; at < Math.max(left.length, right.length); at += block) {
    const [a, b] = [left, right].map((each) => each.subarray(at, at + block));
    const same = b?.length === 0 ? isZero(a) : a?.length === 0 ? isZero(b) : a?.equals(b ?? Buffer.alloc(0));
    if (same !== true) found.push({ offset: at, length: block });
  }
  return found;
}

function isZero(bytes: Buffer | undefined): boolean {
  return bytes?.every((each) => each === 0) ?? true;
}

/** Every stretch of `wanted` lies in one of `extents`, which rise. */
export function assertCovers(extents: readonly Extent[], wanted: readonly Extent[]): void {
  const missed = wanted.filter(
    ({ offset, length }) =>
      !extents.some((each) => each.offset <= offset && each.offset + each.length >= offset + length),
  );
  assert.equal(
    missed.length,
    0,
    `missed ${JSON.stringify(missed.slice(0, 8))} in ${JSON.stringify(extents)}`,
  );
}

/** In rising order, apart from each other, none empty, none past `size`. */
export function assertRising(extents: readonly Extent[], size: number): void {
  let end = 0;
  for (const { offset, length } of extents) {
    assert.ok(offset >= end && length > 0 && offset + length <= size, JSON.stringify({ extents, size }));
    end = offset + length;
  }
}

function assertSame(found: Buffer, wanted: Buffer): void {
  assert.equal(found.length, wanted.length);
  if (!found.equals(wanted))
    assert.fail(`differs at ${JSON.stringify(differences(found, wanted).slice(0, 8))}`);
}

export function total(extents: readonly Extent[]): number {
  return extents.reduce((sum, each) => sum + each.length, 0);
}

function isError(...codes: readonly StorageErrorCode[]): (error: unknown) => boolean {
  return (error) => error instanceof StorageError && codes.includes(error.code);
}

/** The promise fails with a StorageError of that code. Gives the error. */
export async function rejects(promise: Promise<unknown>, code: StorageErrorCode): Promise<StorageError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof StorageError && error.code === code) return error;
    throw error;
  }
  assert.fail(`nothing was thrown, wanted a StorageError «${code}»`);
}

// ---------------------------------------------------------------- content

/** A small generator of numbers below 2^31, the same for the same seed (Park and Miller). */
function numbers(seed: number): () => number {
  let state = seed * 7919 + 1;
  return () => (state = (state * 48_271) % 2_147_483_647);
}

/** Bytes without a run of zeros. */
export function noise(length: number, seed: number): Buffer {
  const next = numbers(seed + 1);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) bytes.writeInt32LE(next() | 1, at);
  return bytes;
}
