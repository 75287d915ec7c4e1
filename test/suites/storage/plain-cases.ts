// What storages have to do that can only read the volume itself.

import assert from "node:assert/strict";
import { InternalError } from "../../../protocol/errors.ts";
import type { AddCase, Case } from "../case.ts";
import type { StorageHarness } from "./harness.ts";
import { assertSame, isError, rejects } from "./judging.ts";
import { Model } from "./model.ts";
import { list, readAll, request, stateOf } from "./reading.ts";

const mib = 1 << 20;

export const plainCases = (add: AddCase<StorageHarness>): readonly Case[] => [
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
