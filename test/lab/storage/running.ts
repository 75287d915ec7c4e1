// Volumes of VMs that run, start and stop, as Qubes moves them about, and many at once.

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import type { Snapshot, SnapshotOutcome, Storage } from "../../../dom0-agent/storage/storage.ts";
import { type Case, caseMaker } from "../../suites/case.ts";
import { noise } from "../../suites/storage/content.ts";
import { list, readAll, stateOf } from "../../suites/storage/reading.ts";
import {
  devicePath,
  lvField,
  makeOnExternal,
  makeThick,
  makeThinSnapshot,
  mapped,
  removeVolumes,
  rename,
  runLvm,
  vg,
} from "../guest/lvm.ts";
import type { LvmHarness } from "../guest/lvm-harness.ts";
import { toolPath } from "./tool-path.ts";

const mib = 1 << 20;
const volume = "vm-my-work-private";
const working = `${volume}-snap`;
const before = noise(4096, 1);
const after = noise(4096, 2);

/** A VM that was started and has written `after` where its volume held `before`. */
function start(lab: LvmHarness): void {
  lab.makeVolume(volume, 4 * mib);
  lab.writeAt(volume, 0, before);
  makeThinSnapshot(volume, working);
  lab.writeAt(working, 0, after);
}

/** The device held open, as a running VM holds it. */
function held(name: string): Disposable {
  const fd = openSync(devicePath(name), "r");
  return { [Symbol.dispose]: () => closeSync(fd) };
}

/** The first 4 KiB of what was taken. */
async function beginning(storage: Storage, outcome: SnapshotOutcome | undefined): Promise<Buffer> {
  if (outcome?.ok !== true) throw outcome?.error ?? new Error("no outcome");
  await using open = await storage.openSnapshot(outcome.snapshot);
  return (await readAll(open)).subarray(0, 4096);
}

async function takeOf(
  storage: Storage,
  name: string,
  committed: boolean,
): Promise<SnapshotOutcome | undefined> {
  return (await storage.createSnapshots([{ volume: name, label: "tock", committed }]))[0];
}

export const runningCases = (harness: () => LvmHarness): readonly Case[] => {
  const add = caseMaker(harness);
  return [
    add(
      "of a running VM, what it writes now is taken; committed asks for what its last start left",
      async (lab) => {
        start(lab);
        {
          using _open = held(working);
          const state = await stateOf(lab.storage, volume);
          assert.deepEqual(
            [state.name, state.uuid, state.crash],
            [volume, lvField(working, "lv_uuid"), true],
          );
          const now = await takeOf(lab.storage, volume, false);
          assert.deepEqual(await beginning(lab.storage, now), after);
          assert.ok(now?.ok);
          assert.deepEqual(
            [now.source.uuid, now.source.crash, now.snapshot.volume],
            [state.uuid, true, volume],
          );
          await lab.storage.dropSnapshots([now.snapshot]);
        }
        const then = await takeOf(lab.storage, volume, true);
        assert.deepEqual(await beginning(lab.storage, then), before);
        assert.ok(then?.ok);
        assert.deepEqual([then.source.uuid, then.source.behind], [lvField(volume, "lv_uuid"), true]);
      },
    ),

    add("what a crash left is taken, and is called that though nobody runs", async (lab) => {
      start(lab);
      const state = await stateOf(lab.storage, volume);
      assert.deepEqual([state.uuid, state.crash], [lvField(working, "lv_uuid"), true]);
      assert.deepEqual(await beginning(lab.storage, await takeOf(lab.storage, volume, false)), after);
    }),

    add(
      "what is read from outside of the pool is refused, also by way of a VM's working copy",
      async (lab) => {
        makeThick("template", 4 * mib);
        makeOnExternal(lab.pool, volume, "template");
        makeThinSnapshot(volume, working);
        for (const committed of [true, false]) {
          const taken = await takeOf(lab.storage, volume, committed);
          assert.ok(taken?.ok === false && taken.error.code === "unusable");
          assert.match(taken.error.message, /read from template, which is outside of its pool/);
        }
        removeVolumes(working, volume, "template");
      },
    ),

    add("a VM that writes to its volume itself runs, too", async (lab) => {
      lab.makeVolume(volume, 4 * mib);
      // Its VM is off: what is committed is all that there is.
      const off = await takeOf(lab.storage, volume, true);
      assert.ok(off?.ok);
      assert.equal(off.source.behind, false);
      assert.equal((await stateOf(lab.storage, volume)).crash, false);
      using _open = held(volume);
      assert.equal((await stateOf(lab.storage, volume)).crash, true);
    }),

    add("all are found by their clean names, and nothing that Qubes throws away", async (lab) => {
      start(lab);
      makeThinSnapshot(volume, "vm-work-root-snap");
      makeThinSnapshot(volume, "vm-work-volatile");
      makeThinSnapshot(volume, "vm-work-private-1700000000-back");
      makeThinSnapshot(volume, "vm-stopping-private-snap");
      makeThinSnapshot(volume, "vm-new-private-import");
      makeThinSnapshot(volume, "vm-debian-root");
      const survey = await lab.storage.survey([working], { all: true });
      assert.deepEqual([...survey.volumes.keys()].sort(), [
        "vm-debian-root",
        volume,
        // Its clean name comes back in an instant.
        "vm-stopping-private",
      ]);
      assert.match(survey.unusable.get(working) ?? "", /working copy/);
    }),

    add(
      "a VM that stops between the look and the snapshot costs a second look and nothing else",
      async (lab) => {
        start(lab);
        lab.makeVolume("two", 4 * mib);
        using tools = toolPath();
        // Qubes' two renames, right before LVM is asked for the snapshot of a name that is not there any more.
        tools.wrap(
          "lvm",
          `if mkdir "$here/once" 2>/dev/null; then
  lvrename lab-vg ${volume} ${volume}-1700000000-back >&2 && lvrename lab-vg ${working} ${volume} >&2
fi
exec "$real" "$@"`,
        );
        const requests = [volume, "two"].map((name) => ({ volume: name, label: "tock", committed: false }));
        const outcomes = await lab.storage.createSnapshots(requests);
        assert.deepEqual(await beginning(lab.storage, outcomes[0]), after);
        assert.ok(outcomes[1]?.ok);
        assert.equal((await lab.storage.survey([])).snapshots.length, 2);
      },
    ),

    add(
      "in the instant of a stop without a name, it is looked for again before it is called gone",
      async (lab) => {
        start(lab);
        rename(volume, `${volume}-1700000000-back`);
        using tools = toolPath();
        // The second rename comes when the second look begins.
        tools.wrap(
          "lvs",
          `if ! mkdir "$here/first" 2>/dev/null && mkdir "$here/once" 2>/dev/null; then
  lvrename lab-vg ${working} ${volume} >&2
fi
exec "$real" "$@"`,
        );
        const outcome = await takeOf(lab.storage, volume, true);
        assert.deepEqual(await beginning(lab.storage, outcome), after);
      },
    ),

    add("a volume that goes for good between the look and the snapshot is gone, and told", async (lab) => {
      for (const name of ["one", "two"]) lab.makeVolume(name, 4 * mib);
      using tools = toolPath();
      tools.wrap("lvm", `[ ! -e /dev/lab-vg/one ] || lvremove -f lab-vg/one >&2\nexec "$real" "$@"`);
      const outcomes = await lab.storage.createSnapshots(
        ["one", "two"].map((name) => ({ volume: name, label: "tock", committed: false })),
      );
      assert.deepEqual(
        outcomes.map((each) => (each.ok ? "ok" : each.error.code)),
        ["gone", "ok"],
      );
    }),

    add("twelve volumes take as many processes as one, the deltas themselves apart", async (lab) => {
      const names = Array.from({ length: 12 }, (_, i) => `vm-n${i}-private`);
      lab.makeVolume("n", 4 * mib);
      runLvm(...names.map((name) => `lvcreate -q -kn -ay -s ${vg}/n -n ${name}`));
      using tools = toolPath();
      tools.count("lvs", "lvm", "dmsetup", "thin_delta");
      const takeAll = async (label: string): Promise<readonly Snapshot[]> => {
        const outcomes = await lab.storage.createSnapshots(
          names.map((name) => ({ volume: name, label, committed: false })),
        );
        return outcomes.map((each) => {
          if (!each.ok) throw each.error;
          return each.snapshot;
        });
      };
      const ticks = await takeAll("tick");
      assert.deepEqual(tools.counts(), { lvs: 2, lvm: 1 });
      for (const name of names) lab.writeAt(name, mib, noise(4096, 1));
      const tocks = await takeAll("tock");
      tools.counts();
      await lab.storage.withMetadata(async (deltas) => {
        for (const [i, tick] of ticks.entries()) {
          const tock = tocks[i];
          assert.ok(tock);
          assert.deepEqual(await list(deltas.between(tick, tock)), [{ offset: mib, length: 65_536 }]);
        }
      });
      const { dmsetup = 0, ...others } = tools.counts();
      assert.deepEqual(others, { lvs: 2, thin_delta: 12 });
      assert.ok(dmsetup <= 12 + 6, `dmsetup was run ${dmsetup} times`);
      await lab.storage.dropSnapshots(ticks);
      assert.deepEqual(tools.counts(), { lvs: 2, lvm: 1 });
      await lab.storage.relabelSnapshots(tocks.map((snapshot) => ({ snapshot, label: "tick" })));
      assert.deepEqual(tools.counts(), { lvs: 2, lvm: 1 });
      const { snapshots } = await lab.storage.survey(names);
      assert.deepEqual(tools.counts(), { lvs: 1 });
      assert.ok(snapshots.length === 12 && snapshots.every((each) => each.label === "tick"));
      await lab.storage.recover();
      assert.deepEqual(tools.counts(), {});
    }),

    add(
      "a snapshot's name that another's volume has is refused; it stays, and so does another owner's",
      async (lab) => {
        lab.makeVolume(volume, 4 * mib);
        const theirs = lab.storageOf({ owner: "ffffffff" });
        makeThinSnapshot(volume, `${volume}.tock`);
        const foreign = lvField(`${volume}.tock`, "lv_uuid");
        const taken = await takeOf(lab.storage, volume, false);
        assert.ok(taken?.ok === false);
        assert.equal(taken.error.code, "unusable");
        assert.match(taken.error.message, /not ours/);
        assert.equal(lvField(`${volume}.tock`, "lv_uuid"), foreign);

        const [other] = await theirs.createSnapshots([{ volume, label: "tick", committed: false }]);
        assert.ok(other?.ok);
        assert.deepEqual((await lab.storage.survey([])).snapshots, []);
        // Neither theirs nor a volume, whatever is asked for.
        const state = await stateOf(lab.storage, volume);
        await lab.storage.dropSnapshots([
          other.snapshot,
          { ...other.snapshot, uuid: foreign },
          { ...other.snapshot, uuid: state.uuid, name: volume },
        ]);
        assert.deepEqual((await theirs.survey([])).snapshots, [other.snapshot]);
        assert.equal((await stateOf(lab.storage, volume)).uuid, state.uuid);
        assert.equal(lvField(`${volume}.tock`, "lv_uuid"), foreign);
        assert.ok(mapped(other.snapshot.name).endsWith(".tick"));
        removeVolumes(`${volume}.tock`);
        // What would get that name later is refused at once.
        const later = await takeOf(lab.storage, volume, false);
        assert.ok(later?.ok === false);
        assert.match(later.error.message, /\.tick is there, made by a sparsebak whose state is not in/);
        assert.match(later.error.hint ?? "", /lvremove @sparsebak-ffffffff /);
        runLvm("lvremove -f @sparsebak-ffffffff");
        assert.deepEqual((await theirs.survey([])).snapshots, []);
      },
    ),

    add(
      "a pool that is fuller than allowed: nothing is made, and the values and their keys are told",
      async (lab) => {
        lab.makeVolume(volume, 16 * mib);
        lab.writeAt(volume, 0, noise(8 * mib, 1));
        const { pool } = await lab.storage.survey([]);
        const { dataPercent = 0, metadataPercent = 0 } = pool;
        assert.ok(dataPercent > 1 && metadataPercent > 0.1, JSON.stringify(pool));
        const limits = [
          { maxMetadataPercent: metadataPercent - 0.1, maxDataPercent: 95 },
          { maxMetadataPercent: 90, maxDataPercent: dataPercent - 1 },
        ];
        for (const limit of limits) {
          const request = lab.storageOf(limit).createSnapshots([{ volume, label: "tock", committed: false }]);
          await assert.rejects(request, (error: Error & { code?: string; hint?: string }) => {
            assert.equal(error.code, "full");
            const said = `${error.message} ${error.hint}`;
            for (const value of [dataPercent, metadataPercent, ...Object.values(limit)]) {
              assert.ok(said.includes(`${value} %`), `${value} is not in: ${said}`);
            }
            assert.match(said, /max-data-percent/);
            assert.match(said, /max-metadata-percent/);
            return true;
          });
        }
        assert.deepEqual((await lab.storage.survey([])).snapshots, []);
        const just = lab.storageOf({ maxMetadataPercent: metadataPercent, maxDataPercent: dataPercent });
        assert.ok((await takeOf(just, volume, false))?.ok);
      },
    ),
  ];
};
