// All cases of the storage lab but udev's, by their names, on both sides: nothing of a guest is touched until a case runs.

import type { Case } from "../../suites/case.ts";
import { restoreStorageCases } from "../../suites/restore-storage.ts";
import { storageCases } from "../../suites/storage.ts";
import { type LvmHarness, lvmHarness } from "../guest/lvm-harness.ts";
import { changeCases } from "./changes.ts";
import { metadataCases } from "./metadata.ts";
import { runningCases } from "./running.ts";

/** Pools by name, with the KiB of their chunks. */
export const pools = { "pool-64": 64, pool256: 256, pool1024: 1024 } as const;

/** Cases of the suite that the size of the pool's chunks matters to. */
const aboutChunks = ["a delta names all that differs", "a delta ends with the volume"];

export function storageLabCases(): readonly Case[] {
  const suite = (pool: keyof typeof pools): readonly Case[] =>
    storageCases(async () => lvmHarness(pool), { snapshots: true }).map((each) => ({
      name: `${pools[pool]} KiB: ${each.name}`,
      run: async () => each.run(),
    }));
  const aboutThem = ({ name }: Case): boolean => aboutChunks.some((each) => name.includes(each));
  const harness = (): LvmHarness => lvmHarness("pool-64");
  return [
    ...suite("pool-64"),
    ...restoreStorageCases(async () => harness()),
    ...suite("pool256").filter(aboutThem),
    ...suite("pool1024").filter(aboutThem),
    ...changeCases(harness),
    ...runningCases(harness),
    ...metadataCases(harness),
  ];
}
