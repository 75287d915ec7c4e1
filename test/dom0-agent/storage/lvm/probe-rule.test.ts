// Whether udev would look into a snapshot, decided by the rule files that are there. What the rule really does is shown
// in the lab.

import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { probedBecause, ruleFile, type UdevPlaces } from "../../../../dom0-agent/storage/lvm/probe-rule.ts";
import { tempDir, type TempDir } from "../../../support/temp-dir.ts";

const ours = join(import.meta.dirname, "../../../../qubes-rpc/udev", ruleFile);
const qubes = `ENV{DM_UUID}=="LVM-*", ENV{DM_LV_NAME}=="vm-*", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"\n`;

interface Machine extends UdevPlaces, Disposable {
  readonly etc: string;
  readonly lib: string;
}

function machine(place: TempDir = tempDir()): Machine {
  const [etc, lib] = [join(place.path, "etc"), join(place.path, "lib")];
  for (const each of [etc, lib]) mkdirSync(each);
  const socket = join(place.path, "socket");
  writeFileSync(socket, "");
  return {
    etc,
    lib,
    sockets: [join(place.path, "none"), socket],
    ruleDirectories: [etc, lib],
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}

describe("udev would probe", () => {
  test("everything where there is no rule", () => {
    using here = machine();
    expect(probedBecause("vm-work-private", here)).toContain(ruleFile);
    expect(probedBecause("data", here)).toContain(ruleFile);
  });

  test("nothing where our rule is", () => {
    using here = machine();
    copyFileSync(ours, join(here.lib, ruleFile));
    expect(probedBecause("vm-work-private", here)).toBeUndefined();
    expect(probedBecause("data", here)).toBeUndefined();
  });

  test("nothing where no udevd runs", () => {
    using here = machine();
    expect(probedBecause("data", { ...here, sockets: [join(here.etc, "none")] })).toBeUndefined();
  });

  test("with Qubes' rule alone, what is not named vm-…", () => {
    using here = machine();
    writeFileSync(join(here.lib, "12-qubes-ignore-lvm-devices.rules"), qubes);
    expect(probedBecause("vm-work-private", here)).toBeUndefined();
    expect(probedBecause("data", here)).toContain(ruleFile);
  });

  test("everything where our rule was switched off", () => {
    for (const off of ["empty", "link", "commented"] as const) {
      using here = machine();
      copyFileSync(ours, join(here.lib, ruleFile));
      const path = join(here.etc, ruleFile);
      if (off === "link") symlinkSync("/dev/null", path);
      else writeFileSync(path, off === "empty" ? "" : '# ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"\n');
      expect(probedBecause("data", here), off).toContain(ruleFile);
    }
  });
});
