// Names in the volume group: which LV a volume's clean name means while its VM runs, how our snapshots are called, and
// where the device mapper keeps a device (facts of Qubes; design section 5).

import type { LogicalVolume } from "./lvs.ts";

/** What Qubes adds to a volume's name, and we must not. */
const qubesSuffixes = ["-snap", "-back", "-import"] as const;
/** LVM allows 127 characters, and needs some for its own suffixes. */
export const maxLvName = 110;

/** The label of our snapshot of a volume, if `name` is one: `tick`, `tock` or `send-…`. */
export function labelOf(name: string): { readonly volume: string; readonly label: string } | undefined {
  const match = /^(.+)\.(tick|tock|send-[A-Za-z0-9]+)$/.exec(name);
  const [, volume, label] = match ?? [];
  return volume === undefined || label === undefined ? undefined : { volume, label };
}

/** The name of a volume's snapshot. */
export function snapshotName(volume: string, label: string): string {
  return `${volume}.${label}`;
}

/** True for a name that Qubes gives to its own working copies and old revisions. */
export function isQubesInternal(name: string): boolean {
  return qubesSuffixes.some((suffix) => name.endsWith(suffix));
}

/** True for what `--all` takes: not what is thrown away when the VM stops. */
export function isWorthBackingUp(name: string): boolean {
  return !isQubesInternal(name) && !/^vm-.*-volatile$/.test(name) && labelOf(name) === undefined;
}

/**
 * The LV to read for a volume's clean name. While a VM runs it writes to `-snap`, which Qubes made from the clean one
 * and will put in its place; a `-snap` that a crash left is what the next start goes on with. `committed` asks for
 * the clean one.
 */
export function sourceOf(
  volumes: ReadonlyMap<string, LogicalVolume>,
  name: string,
  committed: boolean,
): { readonly lv: LogicalVolume; readonly running: boolean } | undefined {
  const working = name.startsWith("vm-") ? volumes.get(`${name}-snap`) : undefined;
  const clean = volumes.get(name);
  const running = (working ?? clean)?.open === true;
  const lv = committed ? clean : (working ?? clean);
  return lv === undefined ? undefined : { lv, running };
}

/** The device mapper's name: dashes doubled, and one between group and volume. */
export function mapperName(vg: string, lv: string): string {
  const escaped = (part: string): string => part.replaceAll("-", "--");
  return `${escaped(vg)}-${escaped(lv)}`;
}
