// What changed, where the name of a volume tells least: made anew under the same name, thin ids handed out again, and
// metadata that was written an instant ago.

import assert from "node:assert/strict";
import { closeSync, openSync, readSync } from "node:fs";
import { deltaSource, thinDelta } from "../../../dom0-agent/storage/lvm/deltas.ts";
import { poolDevice } from "../../../dom0-agent/storage/lvm/pool-device.ts";
import { settleLeftover, reserveMetadata } from "../../../dom0-agent/storage/lvm/reservation.ts";
import type { Snapshot } from "../../../dom0-agent/storage/storage.ts";
import { type Case, caseMaker } from "../../suites/case.ts";
import { noise } from "../../suites/storage/content.ts";
import { assertCovers, assertRising, differences, rejects } from "../../suites/storage/judging.ts";
import { list, readAll, take } from "../../suites/storage/reading.ts";
import { lvField, makeThin, mapped, removeVolumes, rename, run, vg } from "../guest/lvm.ts";
import type { LvmHarness } from "../guest/lvm-harness.ts";

const mib = 1 << 20;
const volume = "vm-work-private";

export const changeCases = (harness: () => LvmHarness): readonly Case[] => {
  const add = caseMaker(harness);
  return [
    add(
      "a volume made anew under its name: the delta from the old one's snapshot has all that differs",
      async (lab) => {
        lab.makeVolume(volume, 4 * mib);
        lab.writeAt(volume, 0, noise(mib, 1));
        lab.writeAt(volume, 2 * mib, noise(mib, 2));
        const old = await take(lab.storage, volume, "tick");
        lab.remove(volume);
        lab.makeVolume(volume, 4 * mib);
        // The same bytes as before in one place, others and none in the rest.
        lab.writeAt(volume, 0, noise(mib, 1));
        lab.writeAt(volume, 3 * mib, noise(mib, 3));
        const tock = await take(lab.storage, volume, "tock");
        await using before = await lab.storage.openSnapshot(old);
        await using after = await lab.storage.openSnapshot(tock);
        const differing = differences(await readAll(before), await readAll(after));
        assert.equal(differing.length, (2 * mib) / 4096);
        const delta = await lab.storage.withMetadata(async (deltas) => list(deltas.between(old, tock)));
        assertRising(delta, 4 * mib);
        assertCovers(delta, differing);
      },
    ),

    add("a thin id that was handed out again is not trusted", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      const tick = await take(lab.storage, volume, "tick");
      lab.writeAt(volume, 0, noise(mib, 1));
      const gone = await take(lab.storage, volume, "tock");
      removeVolumes(gone.name);
      const again = await take(lab.storage, volume, "tock");
      assert.equal(again.thinId, gone.thinId, "LVM did not hand it out again");
      assert.notEqual(again.uuid, gone.uuid);
      await lab.storage.withMetadata(async (deltas) => {
        await rejects(list(deltas.between(tick, gone)), "gone");
        await rejects(list(deltas.mapped(gone)), "gone");
        const forged: Snapshot = { ...again, thinId: tick.thinId };
        await rejects(list(deltas.between(tick, forged)), "unusable");
        assert.notDeepEqual(await list(deltas.between(tick, again)), []);
      });
      await rejects(lab.storage.openSnapshot(gone), "gone");
    }),

    add("a snapshot that can be written to is vouched for no more", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      const tick = await take(lab.storage, volume, "tick");
      const tock = await take(lab.storage, volume, "tock");
      run("lvchange", "-prw", `${vg}/${tock.name}`);
      const { snapshots } = await lab.storage.survey([]);
      assert.equal(snapshots.find((each) => each.label === "tick")?.readOnly, true);
      assert.equal(snapshots.find((each) => each.label === "tock")?.readOnly, false);
      await lab.storage.withMetadata(async (deltas) => {
        await rejects(list(deltas.between(tick, tock)), "unusable");
        await rejects(list(deltas.between(tock, tick)), "unusable");
      });
      await rejects(lab.storage.openSnapshot(tock), "unusable");
    }),

    add("a name that has moved on to another snapshot opens nothing for the old one", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      const tick = await take(lab.storage, volume, "tick");
      lab.writeAt(volume, 0, noise(4096, 5));
      const tock = await take(lab.storage, volume, "tock");
      await lab.storage.dropSnapshots([tick]);
      await lab.storage.relabelSnapshots([{ snapshot: tock, label: "tick" }]);
      await rejects(lab.storage.openSnapshot(tick), "gone");
      await using open = await lab.storage.openSnapshot(tock);
      assert.deepEqual((await readAll(open)).subarray(0, 4096), noise(4096, 5));
    }),

    add("a snapshot that LVM left asleep at the start of the machine is woken to be read", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      lab.writeAt(volume, mib, noise(4096, 5));
      const tick = await take(lab.storage, volume, "tick");
      const tock = await take(lab.storage, volume, "tock");
      run("lvchange", "-an", `${vg}/${tick.name}`);
      assert.deepEqual(
        await lab.storage.withMetadata(async (deltas) => list(deltas.between(tick, tock))),
        [],
      );
      await using open = await lab.storage.openSnapshot(tick);
      assert.deepEqual((await readAll(open)).subarray(mib, mib + 4096), noise(4096, 5));
    }),

    add(
      "what changed right before the metadata is held is seen, 12 times in a row, with stale pages about",
      async (lab) => {
        lab.makeVolume(volume, 16 * mib);
        lab.writeAt(volume, 0, noise(mib, 1));
        const tick = await take(lab.storage, volume, "tick");
        const device = poolDevice(vg, lab.pool);
        const { pool } = await lab.storage.survey([]);
        // The volume itself in a snapshot's place: it can be changed in the last instant.
        const live: Snapshot = { ...tick, thinId: Number(lvField(volume, "thin_id")) };
        const reader = thinDelta(device.metadata, pool.chunkSize, lab.options.signal);
        const source = deltaSource(reader, () => undefined);
        // A reader of the metadata who keeps it in the page cache.
        const stale = openSync(device.metadata, "r");
        try {
          for (let i = 0; i < 12; i++) {
            readSync(stale, Buffer.alloc(mib), 0, mib, 0);
            const offset = ((i * 7) % 60) * 262_144;
            lab.writeAt(volume, offset, noise(4096, i + 100));
            const held = await reserveMetadata(
              { vg, pool: lab.pool, uuid: pool.uuid },
              lab.options.stateDirectory,
            );
            readSync(stale, Buffer.alloc(mib), 0, mib, 0);
            const delta = await list(source.between(tick, live));
            await held.release();
            assertCovers(delta, [{ offset, length: 4096 }]);
          }
        } finally {
          closeSync(stale);
          await settleLeftover(lab.options.stateDirectory, async () => pool.uuid);
        }
      },
    ),

    add("a volume that lies in another pool, or is not thin, is told from one that is gone", async (lab) => {
      makeThin("pool256", "vm-elsewhere-private", 4 * mib);
      run("lvcreate", "-y", "-q", "-Wn", "-Zn", "-L", "4m", "-n", "vm-thick-private", vg);
      try {
        const names = ["vm-elsewhere-private", "vm-thick-private", "vm-gone-private"];
        const survey = await lab.storage.survey(names);
        assert.deepEqual([...survey.volumes.keys()], []);
        assert.deepEqual([...survey.unusable.keys()], names.slice(0, 2));
        const outcomes = await lab.storage.createSnapshots(
          names.slice(0, 2).map((name) => ({ volume: name, label: "tock", committed: false })),
        );
        assert.ok(outcomes.every((each) => !each.ok && each.error.code === "unusable"));
      } finally {
        removeVolumes("vm-thick-private");
      }
    }),

    add(
      "a volume that reads from one outside of the pool what it has not mapped is no backup's source",
      async (lab) => {
        run("lvcreate", "-y", "-q", "-Wn", "-Zn", "-L", "4m", "-n", "vm-outside", vg);
        try {
          run("lvchange", "-pr", `${vg}/vm-outside`);
          run("lvchange", "-an", `${vg}/vm-outside`);
          run(
            "lvcreate",
            "-y",
            "-q",
            "-kn",
            "-ay",
            "-s",
            "--thinpool",
            `${vg}/${lab.pool}`,
            "-n",
            volume,
            `${vg}/vm-outside`,
          );
          const survey = await lab.storage.survey([volume]);
          assert.match(survey.unusable.get(volume) ?? "", /read from vm-outside/);
          const [outcome] = await lab.storage.createSnapshots([{ volume, label: "tock", committed: false }]);
          assert.ok(outcome?.ok === false && outcome.error.code === "unusable");
        } finally {
          removeVolumes(volume, "vm-outside");
        }
      },
    ),

    add("a pool that is asleep is told, with what wakes it", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      run("lvchange", "-an", `${vg}/${volume}`);
      run("lvchange", "-an", `${vg}/${lab.pool}`);
      try {
        const request = { volume, label: "tock", committed: false };
        const error = await rejects(lab.storage.createSnapshots([request]), "unusable");
        assert.match(error.hint ?? "", /lvchange -ay/);
      } finally {
        run("lvchange", "-ay", `${vg}/${lab.pool}`);
      }
    }),

    add("the longest name that the device mapper takes works, and one letter more is told", async (lab) => {
      const longest = 127 - mapped("").length - ".send--00000000".length;
      const name = "v".repeat(longest);
      lab.makeVolume(name, 4 * mib);
      lab.makeVolume(`${name}v`, 4 * mib);
      const tick = await take(lab.storage, name, "tick");
      await lab.storage.relabelSnapshots([{ snapshot: tick, label: "send-00000000" }]);
      await using open = await lab.storage.openSnapshot(tick);
      assert.equal(open.size, 4 * mib);
      assert.deepEqual([...(await lab.storage.survey([`${name}v`])).unusable.keys()], [`${name}v`]);
      rename(name, volume);
    }),
  ];
};
