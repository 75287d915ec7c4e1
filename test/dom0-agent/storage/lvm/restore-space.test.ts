// Room in the pool is looked at before anything is made.

import { expect, test } from "vitest";
import type { LogicalVolume } from "../../../../dom0-agent/storage/lvm/lvs.ts";
import { refuseTooSmallPool } from "../../../../dom0-agent/storage/lvm/restore-space.ts";

const gib = 2 ** 30;
const pool = {
  name: "vm-pool",
  size: 100 * gib,
  chunkSize: 65_536,
  metadataSize: 64 * 2 ** 20,
  dataPercent: 50,
  metadataPercent: 20,
} as LogicalVolume;
const limits = { maxDataPercent: 95, maxMetadataPercent: 90 };

test("data and metadata, each against its own limit", () => {
  const look = { vg: "vg", pool };
  expect(() => refuseTooSmallPool(look, 44 * gib, limits)).not.toThrow();
  expect(() => refuseTooSmallPool(look, 46 * gib, limits)).toThrow(/data would be at 96\.0 % \(limit 95 %\)/);
  // 40 GiB in chunks of 64 KiB are 655 360 mappings: 25 MiB of metadata.
  const small = { vg: "vg", pool: { ...pool, metadataSize: 32 * 2 ** 20 } };
  expect(() => refuseTooSmallPool(small, 40 * gib, limits)).toThrow(/metadata at 98\.1 % \(limit 90 %\)/);
  const full = { vg: "vg", pool: { ...pool, dataPercent: 96 } };
  expect(() => refuseTooSmallPool(full, 0, limits)).toThrow(/0 MiB would be mapped/);
});
