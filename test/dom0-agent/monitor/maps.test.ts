import { existsSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Reporter } from "../../../dom0-agent/context.ts";
import { trackedVolumes } from "../../../dom0-agent/monitor/maps.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { trackedState } from "./tracked-state.ts";

test.each(["delta", "pending"] as const)(
  "a damaged %s counts as none, and goes only under the lock",
  (file) => {
    using directory = tempDir();
    const { state, volumes } = trackedState(directory.path, [{ volume: "work", uuid: "tick", thinId: 1 }]);
    const volume = volumes[0]!;
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
