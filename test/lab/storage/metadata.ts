// The metadata snapshot: whose it is, after every kind of death, and that nobody else's is ever taken away.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readRecord, writeRecord } from "../../../dom0-agent/state/record.ts";
import { type Case, caseMaker } from "../../suites/case.ts";
import { noise } from "../../suites/storage/content.ts";
import { rejects } from "../../suites/storage/judging.ts";
import { list, take } from "../../suites/storage/reading.ts";
import { heldRoot, mapped, poolMessage } from "../guest/lvm.ts";
import type { LvmHarness } from "../guest/lvm-harness.ts";
import { type ToolPath, toolPath } from "./tool-path.ts";

const mib = 1 << 20;
const volume = "vm-work-private";

/** Another process of ours that takes the metadata and holds it until it is killed (main.ts, `hold`). With `tools`, its
 *  pid stands in their directory before it begins. */
function holder(lab: LvmHarness, tools?: ToolPath): ChildProcess {
  const program = [process.execPath, process.argv[1] ?? "", "hold", lab.pool, lab.options.stateDirectory];
  const script = 'if [ -n "$1" ]; then echo $$ >"$1/pid"; fi; shift; exec "$@"';
  return spawn("sh", ["-c", script, "sh", tools?.path ?? "", ...program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** Such a process, once it holds the metadata. */
async function holding(lab: LvmHarness): Promise<ChildProcess> {
  const child = holder(lab);
  await once(child.stdout ?? child, "data");
  assert.notEqual(heldRoot(lab.pool), "-");
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

function intentPath(lab: LvmHarness): string {
  return join(lab.options.stateDirectory, "reservation");
}

/** Changes one field of the written intent. */
function forgeIntent(lab: LvmHarness, change: Readonly<Record<string, unknown>>): void {
  const intent = readRecord(intentPath(lab), (value) => value);
  assert.ok(intent);
  writeRecord(intentPath(lab), { ...intent, ...change });
}

/** What is left when the machine loses its power in the instant after the reservation: nobody has written down which
 *  block it is in. */
async function afterPowerCut(lab: LvmHarness, { keepsBoot = false } = {}): Promise<void> {
  await kill(await holding(lab));
  forgeIntent(lab, { root: "", ...(keepsBoot ? {} : { bootId: "00000000-0000-0000-0000-000000000000" }) });
  rmSync(`${intentPath(lab)}.held`);
}

async function works(lab: LvmHarness): Promise<void> {
  await lab.storage.withMetadata(async () => assert.notEqual(heldRoot(lab.pool), "-"));
  assert.equal(heldRoot(lab.pool), "-");
  assert.ok(!existsSync(intentPath(lab)));
}

/** Neither recover nor whoever needs the metadata lets go of what is held. */
async function staysHeld(lab: LvmHarness): Promise<void> {
  const root = heldRoot(lab.pool);
  await lab.storage.recover();
  await rejects(
    lab.storage.withMetadata(async () => assert.fail("it was used")),
    "held",
  );
  assert.equal(heldRoot(lab.pool), root);
}

export const metadataCases = (harness: () => LvmHarness): readonly Case[] => {
  const add = caseMaker(harness);
  return [
    add("metadata that another program holds is not taken away", async (lab) => {
      poolMessage(lab.pool, "reserve_metadata_snap");
      const root = heldRoot(lab.pool);
      const error = await rejects(
        lab.storage.withMetadata(async () => assert.fail("it was used")),
        "held",
      );
      assert.match(error.message, /another program/);
      assert.match(error.hint ?? "", /release_metadata_snap/);
      await lab.storage.recover();
      assert.equal(heldRoot(lab.pool), root);
      poolMessage(lab.pool, "release_metadata_snap");
      await works(lab);
    }),

    add("what a run held that was killed is let go of by the next one", async (lab) => {
      await kill(await holding(lab));
      assert.notEqual(heldRoot(lab.pool), "-");
      await lab.storage.recover();
      assert.equal(heldRoot(lab.pool), "-");
      await works(lab);
      // And without recover, by whoever needs it next.
      await kill(await holding(lab));
      await works(lab);
    }),

    add("what a living run holds is left to it", async (lab) => {
      const child = await holding(lab);
      const root = heldRoot(lab.pool);
      const error = await rejects(lab.storage.recover(), "held");
      assert.match(error.message, new RegExp(`process ${child.pid}`));
      await rejects(
        lab.storage.withMetadata(async () => assert.fail("it was used")),
        "held",
      );
      assert.equal(heldRoot(lab.pool), root);
      await kill(child);
      await works(lab);
    }),

    add(
      "what was held before the machine started anew is let go of, and a pid says nothing then",
      async (lab) => {
        await kill(await holding(lab));
        forgeIntent(lab, { bootId: "00000000-0000-0000-0000-000000000000", pid: 1 });
        await lab.storage.recover();
        assert.equal(heldRoot(lab.pool), "-");
        // The pid of a process that lives, but not since then.
        await kill(await holding(lab));
        forgeIntent(lab, { pid: process.ppid, startedAt: "1" });
        await lab.storage.recover();
        assert.equal(heldRoot(lab.pool), "-");
      },
    ),

    add("killed between the reservation and its being written down: let go of all the same", async (lab) => {
      using tools = toolPath();
      // The helper's word is late, and when it comes, nobody waits for it any more.
      tools.wrap(
        "dmsetup",
        `case "$*" in
  *reserve_metadata_snap*) "$real" "$@"; code=$?; kill -9 "$(cat "$here/pid")"; sleep 1; exit $code ;;
  *) exec "$real" "$@" ;;
esac`,
      );
      const child = holder(lab, tools);
      const [, signal] = (await once(child, "exit")) as [unknown, string];
      assert.equal(signal, "SIGKILL");
      assert.notEqual(heldRoot(lab.pool), "-");
      assert.equal(
        readRecord(intentPath(lab), ({ root }) => root),
        "",
        "it was written down already",
      );
      tools[Symbol.dispose]();
      await lab.storage.recover();
      assert.equal(heldRoot(lab.pool), "-");
      await works(lab);
    }),

    add("killed before the reservation: what another program took since then is left alone", async (lab) => {
      using tools = toolPath();
      tools.wrap(
        "dmsetup",
        `case "$*" in
  *reserve_metadata_snap*) kill -9 "$(cat "$here/pid")"; exit 1 ;;
  *) exec "$real" "$@" ;;
esac`,
      );
      const child = holder(lab, tools);
      await once(child, "exit");
      tools[Symbol.dispose]();
      assert.ok(existsSync(intentPath(lab)));
      // Nothing happened in the pool since then: only the helper's silence says whose this is.
      poolMessage(lab.pool, "reserve_metadata_snap");
      await staysHeld(lab);
    }),

    add(
      "the power went before any word of it was kept: let go of by the next boot, not by this one",
      async (lab) => {
        await afterPowerCut(lab, { keepsBoot: true });
        const root = heldRoot(lab.pool);
        await lab.storage.recover();
        assert.equal(heldRoot(lab.pool), root);
        poolMessage(lab.pool, "release_metadata_snap");
        await afterPowerCut(lab);
        await lab.storage.recover();
        assert.equal(heldRoot(lab.pool), "-");
        await works(lab);
      },
    ),

    add(
      "… but what another program took in the new boot is left alone: it knows a newer pool",
      async (lab) => {
        await afterPowerCut(lab);
        poolMessage(lab.pool, "release_metadata_snap");
        lab.makeVolume(volume, 4 * mib);
        poolMessage(lab.pool, "reserve_metadata_snap");
        await staysHeld(lab);
      },
    ),

    add("… and what somebody reads", async (lab) => {
      await afterPowerCut(lab);
      const root = heldRoot(lab.pool);
      const reader = openSync(`/dev/mapper/${mapped(lab.pool)}_tmeta`, "r");
      try {
        await rejects(lab.storage.recover(), "held");
      } finally {
        closeSync(reader);
      }
      assert.equal(heldRoot(lab.pool), root);
      await works(lab);
    }),

    add("… and nothing was taken: nothing to let go of", async (lab) => {
      await afterPowerCut(lab);
      poolMessage(lab.pool, "release_metadata_snap");
      await works(lab);
    }),

    add("an intent with another block, or one that is damaged, lets go of nothing", async (lab) => {
      await kill(await holding(lab));
      const root = heldRoot(lab.pool);
      forgeIntent(lab, { root: String(Number(root) + 1) });
      await lab.storage.recover();
      assert.equal(heldRoot(lab.pool), root);
      poolMessage(lab.pool, "release_metadata_snap");
      await works(lab);
    }),

    add(
      "another program lets go of ours while we read: the delta fails, and what it took itself stays",
      async (lab) => {
        lab.makeVolume(volume, 4 * mib);
        const tick = await take(lab.storage, volume, "tick");
        lab.writeAt(volume, 0, noise(mib, 1));
        const tock = await take(lab.storage, volume, "tock");
        let root = "";
        const reading = lab.storage.withMetadata(async (deltas) => {
          assert.notDeepEqual(await list(deltas.between(tick, tock)), []);
          const ours = heldRoot(lab.pool);
          poolMessage(lab.pool, "release_metadata_snap");
          await rejects(list(deltas.between(tick, tock)), "tool");
          root = takeOther(lab, ours);
          return list(deltas.between(tick, tock));
        });
        await rejects(reading, "held");
        assert.equal(heldRoot(lab.pool), root);
      },
    ),
  ];
};

/** What another program does that takes the metadata, in another block than `ours`. */
function takeOther(lab: LvmHarness, ours: string): string {
  for (let i = 0; ; i++) {
    assert.ok(i < 10, "the pool gives the same block again and again");
    poolMessage(lab.pool, "reserve_metadata_snap");
    const root = heldRoot(lab.pool);
    if (root !== ours) return root;
    poolMessage(lab.pool, "release_metadata_snap");
    lab.writeAt(volume, i * 65_536, noise(4096, i));
  }
}
