// Names in the volume group: which LV a volume's clean name means while its VM runs, how our snapshots are called, and
// where the device mapper keeps a device (facts of Qubes; design section 5).

/** What the device mapper takes for a name, in bytes: the group's and the volume's, their dashes doubled. */
const maxMapperName = 127;
/** Every snapshot may have to be kept under this label, which is the longest. */
const longestLabel = "send-00000000";

const lvName = /^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$/;
const labelPattern = "tick|tock|(?:send|look)-[A-Za-z0-9]{1,8}";
const snapshotPattern = new RegExp(`^(.+)\\.(${labelPattern})$`);
const labelOnly = new RegExp(`^(?:${labelPattern})$`);

/** True for what LVM lets a volume be called. */
export function isLvName(name: string): boolean {
  return lvName.test(name) && name !== "." && name !== "..";
}

/** True for the labels of our snapshots: `tick`, `tock`, `send-` or `look-` and up to 8 letters and digits. */
export function isLabel(label: string): boolean {
  return labelOnly.test(label);
}

/** Volume and label of a name that one of our snapshots may have, or undefined. */
export function labelOf(name: string): { readonly volume: string; readonly label: string } | undefined {
  const [, volume, label] = snapshotPattern.exec(name) ?? [];
  return volume === undefined || label === undefined ? undefined : { volume, label };
}

/** The name of a volume's snapshot. It can't end in `-snap`, `-back` or `-import`, which Qubes takes for its own. */
export function snapshotName(volume: string, label: string): string {
  return `${volume}.${label}`;
}

/** A volume that is being restored, and one that a restore has put aside: both keep the volume's name as their prefix,
 *  which is what udev rules go by. */
export function targetName(volume: string): string {
  return `${volume}.restore`;
}

/** `keptAt` in milliseconds since 1970. */
export function keptName(volume: string, keptAt: number): string {
  return `${volume}.old-${Math.floor(keptAt / 1000)
    .toString(16)
    .padStart(8, "0")}`;
}

/** True for the names of both. */
export function isRestoreName(name: string): boolean {
  return /.\.(?:restore|old-[0-9a-f]{8,})$/.test(name);
}

/** How many bytes the name of a volume is too long for its snapshots to have names; 0 when it is not. */
export function nameExcess(vg: string, volume: string): number {
  return Math.max(0, mapperName(vg, snapshotName(volume, longestLabel)).length - maxMapperName);
}

/** True for a name that Qubes gives to a working copy: what it holds is reached by the clean name. */
export function isWorkingCopy(name: string): boolean {
  return /^vm-.*-(?:snap|import)$/.test(name);
}

/**
 * The clean name under which `--all` takes the LV `name`, or undefined: not what is thrown away when the VM stops,
 * not old revisions, and not our snapshots. A `-private-snap` without its clean volume is a VM that is stopping just
 * now; a `-root-snap` without is an app VM's, which is a copy of its template's.
 */
export function worthBackingUp(name: string, exists: (name: string) => boolean): string | undefined {
  if (labelOf(name) !== undefined || isRestoreName(name)) return undefined;
  if (/^vm-.*-(?:volatile|volatile-snap|import|back)$/.test(name)) return undefined;
  if (!isWorkingCopy(name)) return name;
  const clean = name.slice(0, -"-snap".length);
  return clean.endsWith("-private") && !exists(clean) ? clean : undefined;
}

/**
 * The LV to read for a volume's clean name, or undefined when there is none. While a VM runs it writes to `-snap`,
 * which Qubes made from the clean one and will put in its place; a `-snap` that a crash left is what the next start
 * goes on with. `committed` asks for the clean one.
 */
export function sourceOf<Volume>(
  volumes: ReadonlyMap<string, Volume>,
  name: string,
  committed: boolean,
): Volume | undefined {
  const working = name.startsWith("vm-") && !committed ? volumes.get(`${name}-snap`) : undefined;
  return working ?? volumes.get(name);
}

/** True for volumes that have no name in the instant of their VM's stop. */
export function mayBeStopping(name: string): boolean {
  return name.startsWith("vm-");
}

/** The device mapper's name: dashes doubled, and one between group and volume. */
export function mapperName(vg: string, lv: string): string {
  const escaped = (part: string): string => part.replaceAll("-", "--");
  return `${escaped(vg)}-${escaped(lv)}`;
}

/** The device mapper's uuid of a logical volume: names are labels, this is its identity. */
export function deviceUuid(lv: { readonly vgUuid: string; readonly uuid: string }): string {
  return `LVM-${lv.vgUuid}${lv.uuid}`.replaceAll(/(?<!^LVM)-/g, "");
}
