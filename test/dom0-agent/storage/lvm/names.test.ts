// Names in the volume group, the way Qubes and LVM use them.

import { describe, expect, test } from "vitest";
import {
  isLabel,
  isLvName,
  isRestoreName,
  isWorkingCopy,
  keptName,
  labelOf,
  mapperName,
  nameExcess,
  snapshotName,
  sourceOf,
  targetName,
  worthBackingUp,
} from "../../../../dom0-agent/storage/lvm/names.ts";

describe("names", () => {
  test("the device mapper's name doubles dashes", () => {
    expect(mapperName("qubes_dom0", "vm-work-private")).toBe("qubes_dom0-vm--work--private");
    expect(mapperName("vg-a", "po-ol")).toBe("vg--a-po--ol");
  });

  test("a snapshot's name gives volume and label back", () => {
    for (const volume of ["vm-work-private", "a.tick", "x.send-1", "with.dots"]) {
      for (const label of ["tick", "tock", "send-0a1B2c3D", "look-01234567"]) {
        expect(labelOf(snapshotName(volume, label))).toEqual({ volume, label });
      }
    }
  });

  test("no snapshot's name ends as Qubes' own do", () => {
    for (const label of [
      "x-snap",
      "x-back",
      "x-import",
      "send-a-snap",
      "send-",
      "tick ",
      "",
      "send-123456789",
    ]) {
      expect(isLabel(label), label).toBe(false);
    }
    expect(labelOf("vm-work-private.tick-snap")).toBeUndefined();
    expect(labelOf(".tick")).toBeUndefined();
  });

  test("what a restore makes keeps the volume's name, is no volume to back up and no snapshot", () => {
    const names = [targetName("vm-work-private"), keptName("vm-work-private", 1_795_701_930_123)];
    expect(names).toEqual(["vm-work-private.restore", "vm-work-private.old-6b083caa"]);
    for (const name of names) {
      expect(isRestoreName(name)).toBe(true);
      expect(labelOf(name)).toBeUndefined();
      expect(worthBackingUp(name, () => true)).toBeUndefined();
    }
    for (const name of ["vm-work-private", "restore", "a.old", "a.older-00000000"])
      expect(isRestoreName(name), name).toBe(false);
  });

  test("what LVM takes for a name", () => {
    for (const good of ["vm-work-private", "a", "_x", "a+b.c"]) expect(isLvName(good), good).toBe(true);
    for (const bad of ["", "-a", ".", "..", "a/b", "a b", "a\n", "ä", "$(x)"])
      expect(isLvName(bad), bad).toBe(false);
  });

  test("a name is too long when the longest label makes the device mapper's too long", () => {
    const longest = "v".repeat(127 - "vg-".length - ".send--00000000".length);
    expect(nameExcess("vg", longest)).toBe(0);
    expect(nameExcess("vg", `${longest}v`)).toBe(1);
    expect(nameExcess("vg", `${longest.slice(2)}--`)).toBe(2);
  });

  test("Qubes' working copies are not volumes", () => {
    expect(isWorkingCopy("vm-work-private-snap")).toBe(true);
    expect(isWorkingCopy("vm-work-private-import")).toBe(true);
    expect(isWorkingCopy("data-snap")).toBe(false);
    expect(isWorkingCopy("vm-snap-private")).toBe(false);
  });

  test("what --all takes", () => {
    const there = new Set([
      "vm-work-private",
      "vm-work-private-snap",
      "vm-work-private-1795465144-back",
      "vm-work-private-import",
      "vm-work-root-snap",
      "vm-work-volatile",
      "vm-work-volatile-snap",
      "vm-work-private.tick",
      "vm-stopping-private-snap",
      "vm-debian-12-root",
      "vm-debian-12-root-snap",
      "data",
      "data-snap",
    ]);
    const taken = [...there].flatMap((name) => worthBackingUp(name, (other) => there.has(other)) ?? []);
    expect(taken).toEqual([
      "vm-work-private",
      "vm-stopping-private",
      "vm-debian-12-root",
      "data",
      "data-snap",
    ]);
  });
});

describe("which LV a clean name means", () => {
  const volumes = (...names: readonly string[]): ReadonlyMap<string, { readonly name: string }> =>
    new Map(names.map((name) => [name, { name }]));
  const meant = (names: readonly string[], name: string, committed = false): string | undefined =>
    sourceOf(volumes(...names), name, committed)?.name;
  const both = ["vm-a-private", "vm-a-private-snap"];

  test("the working copy while there is one, the clean one otherwise", () => {
    expect(meant(both, "vm-a-private")).toBe("vm-a-private-snap");
    expect(meant(["vm-a-private"], "vm-a-private")).toBe("vm-a-private");
    expect(meant(["vm-a-private-snap"], "vm-a-private")).toBe("vm-a-private-snap");
    expect(meant([], "vm-a-private")).toBeUndefined();
  });

  test("what was committed is the clean one", () => {
    expect(meant(both, "vm-a-private", true)).toBe("vm-a-private");
    expect(meant(["vm-a-private-snap"], "vm-a-private", true)).toBeUndefined();
  });

  test("only Qubes' volumes have working copies", () => {
    expect(meant(["data", "data-snap"], "data")).toBe("data");
  });
});
