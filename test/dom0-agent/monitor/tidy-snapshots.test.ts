import { describe, expect, test } from "vitest";
import { bitmap } from "../../../dom0-agent/delta/bitmap.ts";
import type { TrackedVolume } from "../../../dom0-agent/monitor/maps.ts";
import { planTidy } from "../../../dom0-agent/monitor/tidy-snapshots.ts";
import type { DeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import type { Snapshot, Survey } from "../../../dom0-agent/storage/storage.ts";

function snapshot(label: string, uuid: string, thinId: number): Snapshot {
  return { uuid, thinId, volume: "v", label, name: `v.${label}`, size: 100, readOnly: true, createdAt: 0 };
}

function survey(...snapshots: Snapshot[]): Survey {
  const pool = { uuid: "pool", chunkSize: 65_536, dataPercent: 1, metadataPercent: 1 };
  return { pool, volumes: new Map(), snapshots, unusable: new Map() };
}

function tracked(mapAt: Snapshot | undefined, pendingAt?: Snapshot): TrackedVolume {
  const map =
    mapAt &&
    ({
      poolUuid: "pool",
      snapshotUuid: mapAt.uuid,
      thinId: mapAt.thinId,
      bits: bitmap(0),
    } as unknown as DeltaMap);
  const pending = pendingAt && {
    session: new Uint8Array(16) as DeltaMap["base"],
    snapshotUuid: pendingAt.uuid,
    sending: undefined,
  };
  return {
    archiveName: "a",
    archive: {},
    known: { name: "v" },
    paths: {},
    map,
    pending,
  } as unknown as TrackedVolume;
}

function planned(...args: Parameters<typeof planTidy>): { drop: string[]; relabel: string[] } {
  const plan = planTidy(...args);
  return {
    drop: plan.drop.map((each) => each.label),
    relabel: plan.relabel.map(({ snapshot: each, label }) => `${each.label}>${label}`),
  };
}

const tick = snapshot("tick", "aaaaaaaa-1", 1);
const tock = snapshot("tock", "bbbbbbbb-2", 2);
const parked = snapshot("send-cccccccc", "cccccccc-3", 3);
const none = new Set<string>();

describe("which snapshots stay (design section 5)", () => {
  test("after a monitor: maps complete up to .tock, nothing else needs .tick", () => {
    expect(planned(survey(tick, tock), [tracked(tock)], none)).toEqual({
      drop: ["tick"],
      relabel: ["tock>tick"],
    });
  });

  test("nothing changed: maps still at .tick, .tock goes", () => {
    expect(planned(survey(tick, tock), [tracked(tick)], none)).toEqual({ drop: ["tock"], relabel: [] });
  });

  test("a send under way keeps the .tick that it reads, under another name", () => {
    expect(planned(survey(tick, tock), [tracked(tock, tick)], none)).toEqual({
      drop: [],
      relabel: ["tick>send-aaaaaaaa", "tock>tick"],
    });
  });

  test("killed between the maps of two archives: both snapshots stay", () => {
    expect(planned(survey(tick, tock), [tracked(tick), tracked(tock)], none)).toEqual({
      drop: [],
      relabel: ["tick>send-aaaaaaaa", "tock>tick"],
    });
  });

  test("killed between the removal of .tick and the renaming", () => {
    expect(planned(survey(tock), [tracked(tock)], none)).toEqual({ drop: [], relabel: ["tock>tick"] });
  });

  test("what nothing names goes, parked or not", () => {
    expect(planned(survey(tick, parked), [tracked(tick)], none)).toEqual({
      drop: ["send-cccccccc"],
      relabel: [],
    });
    expect(planned(survey(tick, tock, parked), [], none)).toEqual({
      drop: ["tick", "tock", "send-cccccccc"],
      relabel: [],
    });
    expect(planned(survey(tick, parked), [tracked(tick, parked)], none)).toEqual({ drop: [], relabel: [] });
  });

  test("a snapshot that a send is about to use stays", () => {
    expect(planned(survey(tock), [], new Set([tock.uuid]))).toEqual({ drop: [], relabel: ["tock>tick"] });
  });

  test("a map of another pool, of a reused thin id, or of a snapshot that became writable vouches for nothing", () => {
    expect(planned(survey({ ...tick, thinId: 9 }), [tracked(tick)], none).drop).toEqual(["tick"]);
    expect(planned(survey({ ...tick, readOnly: false }), [tracked(tick)], none).drop).toEqual(["tick"]);
    const elsewhere = { ...survey(tick), pool: { ...survey().pool, uuid: "other" } };
    expect(planned(elsewhere, [tracked(tick)], none).drop).toEqual(["tick"]);
  });
});
