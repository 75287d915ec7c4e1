// One volume whose delta can't be had does not keep the others from being monitored. No pool here has damaged metadata on
// demand, so the storage is made of what it answers.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { ArchiveUuid, GroupId, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import type { Context } from "../../../dom0-agent/context.ts";
import { bitmap, countSet } from "../../../dom0-agent/delta/bitmap.ts";
import { monitor } from "../../../dom0-agent/monitor/monitor.ts";
import { writeArchiveRecord } from "../../../dom0-agent/state/archive-record.ts";
import { makeDirectory } from "../../../dom0-agent/state/atomic-file.ts";
import { readDeltaMap, writeDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { stateLayout } from "../../../dom0-agent/state/layout.ts";
import { type Snapshot, StorageError } from "../../../dom0-agent/storage/storage.ts";
import { tempDir } from "../../support/temp-dir.ts";

const chunkSize = 65_536;
const size = 16 * chunkSize;
const names = ["vm-bad-private", "vm-good-private"] as const;
const random = <T>(length: number): T => new Uint8Array(randomBytes(length)) as T;

function snapshotOf(volume: string, label: string, thinId: number): Snapshot {
  const name = `${volume}.${label}`;
  return { volume, label, name, uuid: `uuid of ${name}`, thinId, size, readOnly: true, createdAt: 1 };
}

test.each(["tool", "gone"] as const)("a delta that fails with «%s» fails its volume alone", async (code) => {
  using directory = tempDir();
  const state = stateLayout(directory.path);
  const paths = state.archive("default");
  makeDirectory(paths.directory);
  const known = names.map((name) => ({ name, id: random<VolumeId>(16), group: random<GroupId>(16) }));
  const archive = random<ArchiveUuid>(16);
  writeArchiveRecord(paths, {
    uuid: archive,
    sealed: false,
    chunkSize,
    level: 3,
    idSeed: random(32),
    head: { generation: 1, digest: random(32), chain: random(32) } as never,
    volumes: known.map((each) => ({ ...each, directory: each.name })),
    groups: [],
  });
  let snapshots = names.map((volume, i) => snapshotOf(volume, "tick", i + 1));
  for (const [i, { id }] of known.entries()) {
    const volume = paths.volume(id);
    makeDirectory(volume.directory);
    writeDeltaMap(volume.delta, {
      archive,
      volume: id,
      base: random<SessionUid>(16),
      baseMapRoot: random(32),
      chunkSize,
      size,
      poolUuid: "pool",
      snapshotUuid: snapshots[i]!.uuid,
      thinId: i + 1,
      bits: bitmap(16),
    });
  }
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
  const [badMap, goodMap] = known.map(({ id }) => readDeltaMap(paths.volume(id).delta));
  // Nothing is lost of the one: its map says what it said, of the snapshot that it said it of, which is still there.
  expect([badMap?.thinId, countSet(badMap!.bits)]).toEqual([1, 0]);
  expect([goodMap?.thinId, countSet(goodMap!.bits)]).toEqual([11, 1]);
  expect(snapshots.map(({ volume, label, thinId }) => [volume, label, thinId])).toEqual([
    [names[0], "tick", 1],
    [names[1], "tick", 11],
  ]);
});
