// What every storage has to do, whether it has snapshots or not.

import assert from "node:assert/strict";
import { fstatSync } from "node:fs";
import type { AddCase, Case } from "../case.ts";
import { noise } from "./content.ts";
import type { StorageHarness } from "./harness.ts";
import { assertCovers, assertRising, assertSame, block, differences, total } from "./judging.ts";
import { Model } from "./model.ts";
import { freeze, readAll, stateOf } from "./reading.ts";

const mib = 1 << 20;

export const commonCases = (add: AddCase<StorageHarness>): readonly Case[] => [
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
