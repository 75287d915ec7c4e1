// dom0 never probes guest bytes: udev would run blkid on what we activate, and make links of what it finds. Qubes'
// own rule keeps it off LVs named vm-…, ours off all our snapshots. Where neither holds, no snapshot is made
// (design section 5).

import { existsSync } from "node:fs";

/** The rule's file name, below any of udev's directories. */
export const ruleFile = "11-sparsebak.rules";
const ruleDirectories = [
  "/etc/udev/rules.d",
  "/run/udev/rules.d",
  "/usr/local/lib/udev/rules.d",
  "/usr/lib/udev/rules.d",
  "/lib/udev/rules.d",
];
/** There while udevd runs; without it nobody probes. */
const udevControl = "/run/udev/control";

/** Why a snapshot of `volume` would be probed, or undefined when it would not. */
export function probedBecause(volume: string): string | undefined {
  if (!existsSync(udevControl)) return undefined;
  if (ruleDirectories.some((directory) => existsSync(`${directory}/${ruleFile}`))) return undefined;
  const qubesRule = volume.startsWith("vm-") && existsSync("/etc/qubes-release");
  return qubesRule ? undefined : `udev would probe its content: the rule ${ruleFile} is not installed`;
}
