// What every RestoreStorage has to do, whatever holds the volumes: nothing is destroyed before something whole is in its
// place. Plain functions with node:assert, as they also run in a guest.

import assert from "node:assert/strict";
import { fsyncSync, writeSync } from "node:fs";
import type { Kept } from "../../dom0-agent/state/kept.ts";
import type { TargetRequest } from "../../dom0-agent/storage/restore-target.ts";
import { type AddCase, type Case, caseMaker } from "./case.ts";
import { noise } from "./storage/content.ts";
import type { StorageHarness } from "./storage/harness.ts";
import { rejects } from "./storage/judging.ts";
import { freeze, readAll, stateOf } from "./storage/reading.ts";

const mib = 1 << 20;
const size = 8 * mib;

function request(volume: string, more: Partial<TargetRequest> = {}): TargetRequest {
  return { volume, size, needs: () => 0, ...more };
}

async function contentOf({ storage }: StorageHarness, name: string): Promise<Buffer> {
  await using frozen = await freeze(storage, name);
  const bytes = await readAll(frozen.open);
  await frozen.drop();
  return bytes;
}

function fill(fd: number, offset: number, bytes: Uint8Array): void {
  writeSync(fd, bytes, 0, bytes.length, offset);
  fsyncSync(fd);
}

/** The suite; `make` gives each case a harness of its own. */
export function restoreStorageCases(make: () => Promise<StorageHarness>): readonly Case[] {
  const plain = caseMaker(make);
  const add: AddCase<StorageHarness> = (name, run) => plain(`restore: ${name}`, run);
  return [
    add(
      "a target takes the volume's place when it is published; the old one is kept until it is dropped",
      async (harness) => {
        const { storage } = harness;
        harness.makeVolume("vm-one-private", 4 * mib);
        harness.writeAt("vm-one-private", 0, noise(mib, 1));
        const old = await contentOf(harness, "vm-one-private");
        const wanted = Buffer.alloc(size);
        wanted.set(noise(mib, 2), 3 * mib);
        const kept: Kept[] = [];
        {
          await using target = await storage.restore.createTarget(request("vm-one-private"));
          assert.ok(target.size >= size);
          fill(target.fd, 3 * mib, wanted.subarray(3 * mib, 4 * mib));
          assert.ok(
            (await contentOf(harness, "vm-one-private")).equals(old),
            "changed before it was published",
          );
          await target.publish((each) => kept.push(each));
        }
        assert.ok((await contentOf(harness, "vm-one-private")).equals(wanted));
        const [put] = kept;
        assert.ok(put?.volume === "vm-one-private" && kept.length === 1);
        assert.equal(await storage.restore.dropKept({ ...put, uuid: `${put.uuid}x` }), "unrecognised");
        assert.equal(await storage.restore.dropKept(put), "removed");
        assert.equal(await storage.restore.dropKept(put), "gone");
        assert.ok((await contentOf(harness, "vm-one-private")).equals(wanted));
      },
    ),

    add("a target that is given up leaves the volume as it was, and no other", async (harness) => {
      const { storage } = harness;
      harness.makeVolume("vm-one-private", 4 * mib);
      harness.writeAt("vm-one-private", mib, noise(mib, 3));
      const old = await contentOf(harness, "vm-one-private");
      const { uuid } = await stateOf(storage, "vm-one-private");
      {
        await using target = await storage.restore.createTarget(request("vm-one-private"));
        fill(target.fd, 0, noise(mib, 4));
      }
      assert.equal((await stateOf(storage, "vm-one-private")).uuid, uuid);
      assert.ok((await contentOf(harness, "vm-one-private")).equals(old));
      // A second one finds nothing in its way, nor does one after a run that never came to its end.
      await using left = await storage.restore.createTarget(request("vm-one-private"));
      fill(left.fd, 0, noise(mib, 5));
    }),

    add("a volume that is not there comes into being", async (harness) => {
      const { storage } = harness;
      let told = 0;
      {
        await using target = await storage.restore.createTarget(request("vm-new-private"));
        fill(target.fd, size - mib, noise(mib, 6));
        await target.publish(() => told++);
      }
      assert.equal(told, 0, "nothing was there to be kept");
      const content = await contentOf(harness, "vm-new-private");
      assert.ok(content.subarray(size - mib, size).equals(noise(mib, 6)));
      assert.ok(content.subarray(0, size - mib).every((byte) => byte === 0));
    }),

    add("in place: the same volume, of the size that is asked for", async (harness) => {
      const { storage } = harness;
      harness.makeVolume("vm-one-private", 4 * mib);
      harness.writeAt("vm-one-private", 0, noise(mib, 7));
      const { uuid } = await stateOf(storage, "vm-one-private");
      for (const wanted of [size, 4 * mib]) {
        await using target = await storage.restore.openInPlace(request("vm-one-private", { size: wanted }));
        assert.equal(target.blank, false);
        fill(target.fd, mib, noise(mib, 8));
        await target.publish(() => assert.fail("nothing is put aside"));
        const state = await stateOf(storage, "vm-one-private");
        assert.deepEqual([state.uuid, state.size], [uuid, wanted]);
      }
      await rejects(storage.restore.openInPlace(request("vm-two-private")), "gone");
    }),

    add("what does not fit is refused, and nothing is made", async (harness) => {
      const { storage } = harness;
      harness.makeVolume("vm-one-private", 4 * mib);
      const { uuid } = await stateOf(storage, "vm-one-private");
      const huge = request("vm-one-private", { needs: () => 2 ** 50 });
      await rejects(storage.restore.createTarget(huge), "full");
      await rejects(
        storage.restore.checkRoom(() => 2 ** 50),
        "full",
      );
      await storage.restore.checkRoom(() => 4096);
      assert.equal((await stateOf(storage, "vm-one-private")).uuid, uuid);
      await using target = await storage.restore.createTarget(request("vm-one-private"));
      assert.ok(target.size >= size);
    }),
  ];
}
