import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { dropGone } from "../../../dom0-agent/monitor/drop-gone.ts";
import type { TrackedVolume } from "../../../dom0-agent/monitor/maps.ts";
import type { Reporter } from "../../../dom0-agent/context.ts";
import { makeDirectory } from "../../../dom0-agent/state/writing.ts";
import { readGone, writeGone } from "../../../dom0-agent/state/gone.ts";
import { stateLayout, type VolumePaths } from "../../../dom0-agent/state/layout.ts";
import { takeLock } from "../../../dom0-agent/state/lock.ts";
import type { Survey, VolumeState } from "../../../dom0-agent/storage/storage.ts";
import { tempDir } from "../../support/temp-dir.ts";

const day = 86_400_000;

function surveyOf(...names: readonly string[]): Survey {
  const pool = { uuid: "pool", chunkSize: 65_536, dataPercent: 1, metadataPercent: 1 };
  const volumes = new Map(names.map((name) => [name, {} as VolumeState]));
  return { pool, volumes, snapshots: [], unusable: new Map() };
}

const pathsIn = (directory: string): Pick<VolumePaths, "delta" | "pending" | "sending"> => ({
  delta: join(directory, "delta"),
  pending: join(directory, "pending"),
  sending: join(directory, "sending"),
});

test("the map of a volume that is gone goes when its time is over, and not before; coming back starts anew", async () => {
  using directory = tempDir();
  const state = stateLayout(directory.path);
  const delta = join(directory.path, "delta");
  const notices: string[] = [];
  const report = { notice: (text: string) => notices.push(text), warn: (text: string) => notices.push(text) };
  writeFileSync(delta, "a map");
  const paths = pathsIn(directory.path);
  const tracked = [
    { archiveName: "default", known: { name: "v" }, map: {}, paths } as unknown as TrackedVolume,
  ];
  const run = async (survey: Survey, days: number): Promise<boolean> =>
    (await dropGone(state, survey, tracked, days, report as unknown as Reporter))[0]?.map !== undefined;

  expect(await run(surveyOf("v"), 0)).toBe(true);
  expect(readGone(state).size).toBe(0);
  expect(await run(surveyOf(), 30)).toBe(true);
  writeGone(state, new Map([["v", Date.now() - 29 * day]]));
  expect(await run(surveyOf(), 30)).toBe(true);
  expect(await run(surveyOf("v"), 30)).toBe(true);
  expect(readGone(state).size).toBe(0);
  writeGone(state, new Map([["v", Date.now() + day]]));
  expect(await run(surveyOf(), 30)).toBe(true);
  expect(readGone(state).get("v")).toBeLessThanOrEqual(Date.now());
  expect(existsSync(delta)).toBe(true);
  expect(notices).toEqual([]);

  writeFileSync(join(directory.path, "gone"), "rot");
  expect(await run(surveyOf(), 30)).toBe(true);
  expect(notices.splice(0).join()).toMatch(/gone: its digest does not fit.*counted from now/);

  writeGone(state, new Map([["v", Date.now() - 31 * day]]));
  expect(await run(surveyOf(), 30)).toBe(false);
  expect(existsSync(delta)).toBe(false);
  expect(notices).toEqual(["v: gone from this machine for more than 30 days; its snapshot is dropped"]);
});

test("what an interrupted send has left goes with it, but not from under a send that is running", async () => {
  using directory = tempDir();
  const state = stateLayout(directory.path);
  const archive = state.archive("default");
  makeDirectory(archive.directory);
  const paths = pathsIn(directory.path);
  for (const path of [paths.pending, paths.sending]) writeFileSync(path, "a send");
  const tracked = {
    archiveName: "default",
    known: { name: "v" },
    map: undefined,
    pending: { snapshotUuid: "snap" },
    paths,
  } as unknown as TrackedVolume;
  const notices: string[] = [];
  const report = { notice: (text: string) => notices.push(text) } as unknown as Reporter;
  const run = async (): Promise<boolean> =>
    (await dropGone(state, surveyOf(), [tracked], 30, report))[0]?.pending !== undefined;

  expect(await run()).toBe(true);
  writeGone(state, new Map([["v", Date.now() - 31 * day]]));
  const other = spawn("flock", ["--no-fork", archive.lock, "sh", "-c", "echo locked; exec sleep 60"]);
  await once(other.stdout, "data");
  expect(await run()).toBe(true);
  other.kill();
  await once(other, "close");
  expect(existsSync(paths.pending)).toBe(true);
  expect(notices).toEqual([]);
  // The monitor of a send has the lock itself.
  using _lock = await takeLock(archive.lock, "send", 0);
  expect(await run()).toBe(false);
  expect(existsSync(paths.pending) || existsSync(paths.sending)).toBe(false);
  expect(notices).toEqual(["v: gone from this machine for more than 30 days; its snapshot is dropped"]);
});
