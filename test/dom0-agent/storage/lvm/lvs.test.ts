// What lvs prints: taken as it really is, and refused where it is anything else.

import { describe, expect, test } from "vitest";
import { parseLvs } from "../../../../dom0-agent/storage/lvm/lvs.ts";

const vgUuid = "2ZElb7-IKg1-yO2U-rzJR-lJwH-8Pdh-QCkI0c";
const poolUuid = "vUlJCl-EYmR-qeIZ-K41a-B3Ns-OlHV-5cXBLJ";
const volumeUuid = "sQVBde-UoWB-igec-44Bs-ZAXE-HOk3-OABWkg";
const snapshotUuid = "6IoGRJ-CUSh-gXZA-uEBi-Ubi7-oweT-fCIfKH";
const linearUuid = "LmCrkx-Ofp4-kaC0-j9dZ-sODq-AJ36-AsGVme";

const pool = {
  vg_uuid: vgUuid,
  lv_name: "vm-pool",
  lv_uuid: poolUuid,
  thin_id: "",
  origin_uuid: "",
  pool_lv_uuid: "",
  lv_size: "536870912",
  lv_attr: "twi-aotz--",
  lv_tags: "",
  lv_time: "1795465144",
  segtype: "thin-pool",
  chunk_size: "65536",
  data_percent: "0.13",
  metadata_percent: "10.50",
  lv_metadata_size: "4194304",
};
const volume = {
  ...pool,
  lv_name: "vm-w-private",
  lv_uuid: volumeUuid,
  thin_id: "1",
  pool_lv_uuid: poolUuid,
  lv_size: "67108864",
  lv_attr: "Vwi-aotz--",
  segtype: "thin",
  chunk_size: "0",
  metadata_percent: "",
  lv_metadata_size: "",
};
const snapshot = {
  ...volume,
  lv_name: "vm-w-private.tick",
  lv_uuid: snapshotUuid,
  thin_id: "2",
  origin_uuid: volumeUuid,
  lv_attr: "Vri-a-tz--",
  lv_tags: "sparsebak,sparsebak-01234567",
};
const linear = {
  ...pool,
  lv_name: "swap",
  lv_uuid: linearUuid,
  lv_attr: "-wi-ao----",
  segtype: "linear",
  chunk_size: "0",
  data_percent: "",
  metadata_percent: "",
};
const printed = (...rows: readonly object[]): string => JSON.stringify({ report: [{ lv: rows }] });

describe("lvs", () => {
  test("a pool, a volume that is open, a snapshot of ours", () => {
    const [first, second, third] = parseLvs(printed(pool, volume, snapshot));
    expect(first).toMatchObject({
      name: "vm-pool",
      isPool: true,
      chunkSize: 65_536,
      dataPercent: 0.13,
      metadataPercent: 10.5,
      thinId: undefined,
      trouble: undefined,
    });
    expect(second).toMatchObject({
      name: "vm-w-private",
      thinId: 1,
      poolUuid,
      size: 67_108_864,
      open: true,
      active: true,
      readOnly: false,
      originUuid: "",
      createdAt: 1_795_465_144_000,
    });
    expect(third).toMatchObject({
      originUuid: volumeUuid,
      readOnly: true,
      open: false,
      tags: ["sparsebak", "sparsebak-01234567"],
      vgUuid,
    });
  });

  test("a volume that is only active read-only can be written to again", () => {
    expect(parseLvs(printed({ ...snapshot, lv_attr: "VRi-a-tz--" }))[0]?.readOnly).toBe(false);
  });

  test("a pool in trouble", () => {
    const trouble = (letter: string): string | undefined =>
      parseLvs(printed({ ...pool, lv_attr: `twi-aotz${letter}-` }))[0]?.trouble;
    expect([trouble("F"), trouble("D"), trouble("M"), trouble("-")]).toEqual([
      "failed",
      "out of data space",
      "metadata read-only",
      undefined,
    ]);
  });

  test("an inactive pool, whose fill nobody knows", () => {
    const asleep = { ...pool, lv_attr: "twi---tz--", data_percent: "", metadata_percent: "" };
    expect(parseLvs(printed(asleep))[0]).toMatchObject({ dataPercent: undefined, active: false });
  });

  test("a volume of several segments has several rows, and is one volume", () => {
    expect(parseLvs(printed(linear, linear))).toHaveLength(1);
  });

  test("a volume of a time before LVM noted times", () => {
    expect(parseLvs(printed({ ...volume, lv_time: "" }))[0]?.createdAt).toBe(0);
  });

  test("no volumes", () => {
    expect(parseLvs(printed())).toEqual([]);
  });

  const { lv_uuid: _, ...withoutUuid } = volume;
  const wrong: Readonly<Record<string, string>> = {
    nothing: "",
    "no JSON": "  LV  VG\n",
    null: "null",
    "an array": "[]",
    "no report": "{}",
    "a report of something else": JSON.stringify({ report: [{ vg: [] }] }),
    "a row that is no object": printed("x" as unknown as object),
    "half a text": printed(volume).slice(0, -3),
    "a missing field": printed(withoutUuid),
    "a number where text was": printed({ ...volume, lv_size: 67_108_864 }),
    "a size with a unit": printed({ ...volume, lv_size: "64.00m" }),
    "a size above what a float holds": printed({ ...volume, lv_size: "99999999999999999" }),
    "a negative thin id": printed({ ...volume, thin_id: "-1" }),
    "a time as people write it": printed({ ...volume, lv_time: "2026-11-23 20:19:06 +0000" }),
    "no uuid": printed({ ...volume, lv_uuid: "x" }),
    "a pool's uuid that is none": printed({ ...volume, pool_lv_uuid: "vm-pool" }),
    "a name that leads elsewhere": printed({ ...volume, lv_name: "../sda" }),
    "an internal name in brackets": printed({ ...volume, lv_name: "[vm-pool_tmeta]" }),
    "attributes that are cut": printed({ ...volume, lv_attr: "Vwi" }),
    "a percentage with a sign": printed({ ...pool, data_percent: "12.5%" }),
    "two volumes of one name": printed(volume, { ...volume, lv_uuid: snapshotUuid }),
  };
  for (const [what, text] of Object.entries(wrong)) {
    test(`refused: ${what}`, () => {
      expect(() => parseLvs(text)).toThrow(/lvs/);
    });
  }
});
