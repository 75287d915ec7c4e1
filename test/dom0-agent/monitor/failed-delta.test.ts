// One volume whose delta can't be had does not keep the others from being monitored. No pool here has damaged metadata on
// demand, so the storage is made of what it answers.

import { expect, test } from "vitest";
import type { Context } from "../../../dom0-agent/context.ts";
import { countSet } from "../../../dom0-agent/delta/bitmap.ts";
import { monitor } from "../../../dom0-agent/monitor/monitor.ts";
import { readDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { type Snapshot, StorageError } from "../../../dom0-agent/storage/storage.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { chunkSize, size, trackedState } from "./tracked-state.ts";

const names = ["vm-bad-private", "vm-good-private"] as const;

function snapshotOf(volume: string, label: string, thinId: number): Snapshot {
  const name = `${volume}.${label}`;
  return { volume, label, name, uuid: `uuid of ${name}`, thinId, size, readOnly: true, createdAt: 1 };
}

test.each(["tool", "gone"] as const)("a delta that fails with «%s» fails its volume alone", async (code) => {
  using directory = tempDir();
  let snapshots = names.map((volume, i) => snapshotOf(volume, "tick", i + 1));
  const { state, volumes } = trackedState(directory.path, snapshots);
  const broken = new StorageError(code, "thin_delta: bad checksum");
  const between = async function* ({ volume }: Snapshot): AsyncGenerator<{ offset: number; length: number }> {
    yield { offset: 0, length: chunkSize };
    if (volume === names[0]) throw broken;
  };
  const pool = { uuid: "pool", chunkSize, dataPercent: 1, metadataPercent: 1 };
  const context = {
    state,
    settings: { keepGoneDays: 30 },
    signal: new AbortController().signal,
    report: { warn: (text: string) => expect.fail(text), notice: () => undefined },
    storage: {
      recover: async () => undefined,
      survey: async () => ({
        pool,
        snapshots,
        unusable: new Map(),
        volumes: new Map(names.map((name) => [name, { name, uuid: name, size, crash: false }])),
      }),
      createSnapshots: async (requests: readonly { volume: string; label: string }[]) =>
        requests.map(({ volume, label }, i) => {
          const snapshot = snapshotOf(volume, label, 10 + i);
          snapshots = [...snapshots, snapshot];
          return { ok: true, snapshot, source: { name: volume, uuid: volume, size, crash: false } };
        }),
      withMetadata: async (use: (deltas: unknown) => Promise<unknown>) => use({ between }),
      dropSnapshots: async (drop: readonly Snapshot[]) => {
        snapshots = snapshots.filter((each) => !drop.includes(each));
      },
      relabelSnapshots: async (changes: readonly { snapshot: Snapshot; label: string }[]) => {
        for (const { snapshot, label } of changes)
          snapshots = snapshots.map((each) => (each.uuid === snapshot.uuid ? { ...each, label } : each));
      },
    },
  } as unknown as Context;

  const [bad, good] = await monitor(context, { volumes: names, committed: false, forSend: true });
  expect(bad).toEqual({ ok: false, volume: names[0], error: broken });
  expect(good).toMatchObject({ ok: true, changedBytes: chunkSize, tick: { label: "tick", thinId: 11 } });
  const [badMap, goodMap] = volumes.map(({ delta }) => readDeltaMap(delta));
  // Nothing is lost of the one: its map says what it said, of the snapshot that it said it of, which is still there.
  expect([badMap?.thinId, countSet(badMap!.bits)]).toEqual([1, 0]);
  expect([goodMap?.thinId, countSet(goodMap!.bits)]).toEqual([11, 1]);
  expect(snapshots.map(({ volume, label, thinId }) => [volume, label, thinId])).toEqual([
    [names[0], "tick", 1],
    [names[1], "tick", 11],
  ]);
});
