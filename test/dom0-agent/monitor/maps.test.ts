import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { ArchiveUuid, GroupId, SessionUid, VolumeId } from "../../../protocol/archive/types.ts";
import type { Reporter } from "../../../dom0-agent/context.ts";
import { bitmap } from "../../../dom0-agent/delta/bitmap.ts";
import { trackedVolumes } from "../../../dom0-agent/monitor/maps.ts";
import { writeArchiveRecord } from "../../../dom0-agent/state/archive-record.ts";
import { makeDirectory } from "../../../dom0-agent/state/atomic-file.ts";
import { writeDeltaMap } from "../../../dom0-agent/state/delta-map.ts";
import { stateLayout } from "../../../dom0-agent/state/layout.ts";
import { tempDir } from "../../support/temp-dir.ts";

const random = <T>(length: number): T => new Uint8Array(randomBytes(length)) as T;
const chunkSize = 65_536;

test.each(["delta", "pending"] as const)(
  "a damaged %s counts as none, and goes only under the lock",
  (file) => {
    using directory = tempDir();
    const state = stateLayout(directory.path);
    const paths = state.archive("default");
    makeDirectory(paths.directory);
    const [archive, id] = [random<ArchiveUuid>(16), random<VolumeId>(16)];
    writeArchiveRecord(paths, {
      uuid: archive,
      sealed: false,
      chunkSize,
      level: 3,
      idSeed: random(32),
      head: { generation: 1, digest: random(32), chain: random(32) } as never,
      volumes: [{ name: "work", id, group: random<GroupId>(16), directory: "work" }] as never,
      groups: [],
    });
    const volume = paths.volume(id);
    makeDirectory(volume.directory);
    writeDeltaMap(volume.delta, {
      archive,
      volume: id,
      base: random<SessionUid>(16),
      baseMapRoot: random(32),
      chunkSize,
      size: chunkSize,
      poolUuid: "pool",
      snapshotUuid: "snapshot",
      thinId: 1,
      bits: bitmap(1),
    });
    const said: string[] = [];
    const report = { warn: (text: string) => void said.push(text) } as unknown as Reporter;
    expect(trackedVolumes(state, report, "leave")[0]?.map).toBeDefined();
    writeFileSync(volume[file], "rot");
    for (const damaged of ["leave", "drop"] as const) {
      expect(trackedVolumes(state, report, damaged)[0]).toMatchObject({ map: undefined, pending: undefined });
      expect(said.splice(0)).toEqual([expect.stringMatching(/^work: .*compared whole at the next send/)]);
      expect(existsSync(volume[file])).toBe(damaged === "leave");
      expect(existsSync(volume.delta)).toBe(damaged === "leave");
    }
    expect(trackedVolumes(state, report)[0]?.map).toBeUndefined();
    expect(said).toEqual([]);
  },
);
