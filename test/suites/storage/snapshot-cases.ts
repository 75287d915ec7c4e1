// What storages have to do that can freeze a volume, and say what has changed since.

import assert from "node:assert/strict";
import type { Snapshot, VolumeState } from "../../../dom0-agent/storage/storage.ts";
import { InternalError } from "../../../protocol/errors.ts";
import type { AddCase, Case } from "../case.ts";
import { noise } from "./content.ts";
import type { StorageHarness } from "./harness.ts";
import { assertCovers, assertRising, assertSame, block, differences, rejects, total } from "./judging.ts";
import { Model } from "./model.ts";
import { list, readAll, request, stateOf, take } from "./reading.ts";

const mib = 1 << 20;

export const snapshotCases = (add: AddCase<StorageHarness>): readonly Case[] => [
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
