// dom0 never probes guest bytes: udev would run blkid on what we activate, and make links of what it finds. Qubes'
// own rule keeps it off LVs named vm-…, ours off all our snapshots. Where neither holds, no snapshot is made
// (design section 5).

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Our rule (qubes-rpc/udev), below any of udev's directories. */
export const ruleFile = "11-sparsebak.rules";
const qubesRuleFile = "12-qubes-ignore-lvm-devices.rules";
/** What such a rule sets to keep blkid away. */
const flag = "DM_UDEV_DISABLE_DISK_RULES_FLAG";

export interface UdevPlaces {
  /** In udev's order: the first directory that has a file of a name decides. */
  readonly ruleDirectories: readonly string[];
  /** One of them is there while udevd runs, the second since systemd 257; without it nobody probes. */
  readonly sockets: readonly string[];
}

const systemPlaces: UdevPlaces = {
  ruleDirectories: [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
  ],
  sockets: ["/run/udev/control", "/run/udev/io.systemd.Udev"],
};

/** Why a snapshot of `volume` would be probed, or undefined when it would not. */
export function probedBecause(volume: string, places: UdevPlaces = systemPlaces): string | undefined {
  if (!places.sockets.some((each) => existsSync(each))) return undefined;
  if (holds(ruleFile, places)) return undefined;
  if (volume.startsWith("vm-") && holds(qubesRuleFile, places)) return undefined;
  return `udev would probe its content: the rule ${ruleFile} is not installed`;
}

/** A file that is empty, or a link to /dev/null, switches off those of its name in the directories behind. */
function holds(file: string, { ruleDirectories }: UdevPlaces): boolean {
  const path = ruleDirectories.map((each) => join(each, file)).find((each) => existsSync(each));
  if (path === undefined) return false;
  return readFileSync(path, "utf8")
    .split("\n")
    .some((line) => !line.startsWith("#") && line.includes(flag));
}
