import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { dropGone } from "../../../dom0-agent/monitor/drop-gone.ts";
import type { TrackedVolume } from "../../../dom0-agent/monitor/maps.ts";
import type { Reporter } from "../../../dom0-agent/context.ts";
import { readGone, writeGone } from "../../../dom0-agent/state/gone.ts";
import { stateLayout } from "../../../dom0-agent/state/layout.ts";
import type { Survey, VolumeState } from "../../../dom0-agent/storage/storage.ts";
import { tempDir } from "../../support/temp-dir.ts";

const day = 86_400_000;

function surveyOf(...names: readonly string[]): Survey {
  const pool = { uuid: "pool", chunkSize: 65_536, dataPercent: 1, metadataPercent: 1 };
  const volumes = new Map(names.map((name) => [name, {} as VolumeState]));
  return { pool, volumes, snapshots: [], unusable: new Map() };
}

test("the map of a volume that is gone goes when its time is over, and not before; coming back starts anew", () => {
  using directory = tempDir();
  const state = stateLayout(directory.path);
  const delta = join(directory.path, "delta");
  const notices: string[] = [];
  const report = { notice: (text: string) => notices.push(text), warn: (text: string) => notices.push(text) };
  writeFileSync(delta, "a map");
  const tracked = [{ known: { name: "v" }, map: {}, paths: { delta } } as unknown as TrackedVolume];
  const run = (survey: Survey, days: number): boolean =>
    dropGone(state, survey, tracked, days, report as unknown as Reporter)[0]?.map !== undefined;

  expect(run(surveyOf("v"), 0)).toBe(true);
  expect(readGone(state).size).toBe(0);
  expect(run(surveyOf(), 30)).toBe(true);
  writeGone(state, new Map([["v", Date.now() - 29 * day]]));
  expect(run(surveyOf(), 30)).toBe(true);
  expect(run(surveyOf("v"), 30)).toBe(true);
  expect(readGone(state).size).toBe(0);
  writeGone(state, new Map([["v", Date.now() + day]]));
  expect(run(surveyOf(), 30)).toBe(true);
  expect(readGone(state).get("v")).toBeLessThanOrEqual(Date.now());
  expect(existsSync(delta)).toBe(true);
  expect(notices).toEqual([]);

  writeFileSync(join(directory.path, "gone"), "rot");
  expect(run(surveyOf(), 30)).toBe(true);
  expect(notices.splice(0).join()).toMatch(/gone: its digest does not fit.*counted from now/);

  writeGone(state, new Map([["v", Date.now() - 31 * day]]));
  expect(run(surveyOf(), 30)).toBe(false);
  expect(existsSync(delta)).toBe(false);
  expect(notices).toEqual(["v: gone from this machine for more than 30 days; its snapshot is dropped"]);
});
