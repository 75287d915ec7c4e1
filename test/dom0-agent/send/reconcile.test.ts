import { describe, expect, test } from "vitest";
import { bitmap, runsOf, setRange } from "../../../dom0-agent/delta/bitmap.ts";
import { reconcile, settleUnchanged, vouchedBase } from "../../../dom0-agent/send/reconcile.ts";
import { makeDirectory } from "../../../dom0-agent/state/writing.ts";
import { type DeltaMap, readDeltaMap, writeDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { stateLayout, type VolumePaths } from "../../../dom0-agent/state/layout.ts";
import { readPending, writePending } from "../../../dom0-agent/state/pending.ts";
import type { VolumeIndex } from "../../../protocol/archive/index-file.ts";
import type { SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import { tempDir, type TempDir } from "../../support/temp-dir.ts";

const oldSession = new Uint8Array(16).fill(1) as SessionUid;
const newSession = new Uint8Array(16).fill(2) as SessionUid;
const root = (n: number): DeltaMap["baseMapRoot"] => new Uint8Array(32).fill(n) as DeltaMap["baseMapRoot"];

function map(fields: Partial<DeltaMap>, from: number, to: number, chunks = 10): DeltaMap {
  const bits = bitmap(chunks);
  setRange(bits, from, to);
  return {
    archive: new Uint8Array(16) as DeltaMap["archive"],
    volume: new Uint8Array(16) as DeltaMap["volume"],
    base: oldSession,
    baseMapRoot: root(1),
    chunkSize: 65_536,
    size: chunks * 65_536,
    poolUuid: "pool",
    snapshotUuid: "snap",
    thinId: 1,
    bits,
    ...fields,
  };
}

function indexWith(...sessions: { uid: SessionUid; root: number }[]): VolumeIndex {
  const list = sessions.map((each) => ({ uid: each.uid, mapRoot: root(each.root) }));
  return { sessions: list } as unknown as VolumeIndex;
}

function begun(directory: TempDir, sending: DeltaMap | undefined, since: DeltaMap): VolumePaths {
  const paths = stateLayout(directory.path)
    .archive("a")
    .volume(new Uint8Array(16) as VolumeId);
  makeDirectory(paths.directory);
  writePending(paths, { session: newSession, snapshotUuid: "pinned", sending });
  writeDeltaMap(paths.delta, since);
  return paths;
}

const since = (chunks = 10): DeltaMap =>
  map({ base: newSession, baseMapRoot: root(0), snapshotUuid: "later" }, 7, 8, chunks);
const changed = (paths: VolumePaths): unknown => [...runsOf(readDeltaMap(paths.delta)?.bits ?? bitmap(0))];

describe("what became of a send (design section 5)", () => {
  test("its session is in the archive: what came in since is the map", () => {
    using directory = tempDir();
    const paths = begun(directory, map({}, 1, 3), since());
    const index = indexWith({ uid: oldSession, root: 1 }, { uid: newSession, root: 2 });
    expect(reconcile(paths, index)).toBe("committed");
    expect(changed(paths)).toEqual([{ start: 7, count: 1 }]);
    expect(readPending(paths)).toBeUndefined();
    expect(vouchedBase(paths, index, () => expect.fail())?.baseMapRoot).toEqual(root(2));
    expect(reconcile(paths, index)).toBe("none");
  });

  test("it is not: the map is both together, on the old base", () => {
    using directory = tempDir();
    const paths = begun(directory, map({}, 1, 3), since());
    const index = indexWith({ uid: oldSession, root: 1 });
    expect(reconcile(paths, index)).toBe("merged");
    expect(changed(paths)).toEqual([
      { start: 1, count: 2 },
      { start: 7, count: 1 },
    ]);
    expect(vouchedBase(paths, index, () => expect.fail())?.snapshotUuid).toBe("later");
  });

  test("killed after the merged map was written and before the record was removed: merged again, the same", () => {
    using directory = tempDir();
    const paths = begun(directory, map({}, 1, 3), since());
    const index = indexWith({ uid: oldSession, root: 1 });
    reconcile(paths, index);
    writePending(paths, { session: newSession, snapshotUuid: "pinned", sending: map({}, 1, 3) });
    expect(reconcile(paths, index)).toBe("merged");
    expect(changed(paths)).toEqual([
      { start: 1, count: 2 },
      { start: 7, count: 1 },
    ]);
  });

  test("the volume grew or shrank meanwhile: everything from the smaller end on counts as changed", () => {
    using directory = tempDir();
    const index = indexWith({ uid: oldSession, root: 1 });
    const grown = begun(directory, map({}, 1, 3), since(14));
    reconcile(grown, index);
    expect(changed(grown)).toEqual([
      { start: 1, count: 2 },
      { start: 7, count: 1 },
      { start: 10, count: 4 },
    ]);
    const shrunk = begun(directory, map({}, 1, 9), since(8));
    reconcile(shrunk, index);
    expect(changed(shrunk)).toEqual([{ start: 1, count: 7 }]);
  });

  test("a first send that did not end leaves no map: nothing is known of the time before", () => {
    using directory = tempDir();
    const paths = begun(directory, undefined, since());
    expect(reconcile(paths, undefined)).toBe("merged");
    expect(readDeltaMap(paths.delta)).toBeUndefined();
  });

  test("a map that counts from another session than the last is not used", () => {
    using directory = tempDir();
    const paths = begun(directory, map({}, 1, 3), since());
    reconcile(paths, indexWith({ uid: oldSession, root: 1 }));
    let said = "";
    const other = indexWith({ uid: new Uint8Array(16).fill(9) as SessionUid, root: 9 });
    expect(vouchedBase(paths, other, (message) => (said = message))).toBeUndefined();
    expect(said).toMatch(/another session/);
    expect(readDeltaMap(paths.delta)).toBeUndefined();
  });

  test("that there is no map is said where there is a session to compare with", () => {
    using directory = tempDir();
    const paths = begun(directory, undefined, since());
    reconcile(paths, undefined);
    const said: string[] = [];
    const notice = (message: string): void => void said.push(message);
    expect(vouchedBase(paths, undefined, notice)).toBeUndefined();
    expect(vouchedBase(paths, indexWith({ uid: oldSession, root: 1 }), notice)).toBeUndefined();
    expect(said).toEqual([expect.stringMatching(/no delta map/)]);
  });

  test("a send that found nothing new leaves what came in since, on the old base", () => {
    using directory = tempDir();
    const paths = begun(directory, map({}, 1, 3), since());
    settleUnchanged(paths, { uid: oldSession, mapRoot: root(1) });
    expect(changed(paths)).toEqual([{ start: 7, count: 1 }]);
    expect(reconcile(paths, undefined)).toBe("none");
    expect(vouchedBase(paths, indexWith({ uid: oldSession, root: 1 }), () => expect.fail())).toBeDefined();
  });
});
