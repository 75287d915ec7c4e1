// Opening a snapshot's device. Names are labels, and monitor moves them: what was opened is known by the uuid that the
// device mapper has for it, its size and its being read-only, all read from the open device.

import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { type OpenVolume, StorageError } from "../storage.ts";
import type { LogicalVolume } from "./lvs.ts";
import { mapperName } from "./names.ts";

/** Opens the device of `lv` for reading. Throws StorageError `gone` when it is another one's by now, `unusable` when it
 *  can be written to. */
export function openSnapshotDevice(vg: string, lv: LogicalVolume): OpenVolume {
  const path = `/dev/mapper/${mapperName(vg, lv.name)}`;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new StorageError(code === "ENOENT" ? "gone" : "tool", `open ${vg}/${lv.name}: ${message}`);
  }
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    checkDevice(fd, path, lv);
  } catch (error) {
    close();
    throw error;
  }
  return {
    fd,
    size: lv.size,
    checkUnchanged: async () => undefined,
    [Symbol.asyncDispose]: async () => close(),
  };
}

function checkDevice(fd: number, path: string, lv: LogicalVolume): void {
  const stat = fstatSync(fd);
  if (!stat.isBlockDevice())
    throw new StorageError("tool", `open ${path}: found something else, wanted a block device`);
  const attribute = (name: string): string =>
    readFileSync(`/sys/dev/block/${major(stat.rdev)}:${minor(stat.rdev)}/${name}`, "utf8").trim();
  const uuid = `LVM-${lv.vgUuid}${lv.uuid}`.replaceAll(/(?<!^LVM)-/g, "");
  if (attribute("dm/uuid") !== uuid)
    throw new StorageError("gone", `open ${path}: it is another volume by now`);
  const size = Number(attribute("size")) * 512;
  if (size !== lv.size)
    throw new StorageError("tool", `open ${path}: found ${size} bytes, wanted ${lv.size}`);
  if (attribute("ro") !== "1") {
    throw new StorageError(
      "unusable",
      `open ${path}: the snapshot can be written to, so it is not vouched for`,
    );
  }
}

/** Of a device number as Linux packs it into 64 bits. */
function major(rdev: number): number {
  return Math.floor(rdev / 2 ** 8) % 2 ** 12;
}

function minor(rdev: number): number {
  return (rdev % 2 ** 8) + (Math.floor(rdev / 2 ** 20) % 2 ** 12) * 2 ** 8;
}
