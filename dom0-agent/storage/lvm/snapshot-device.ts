// Opening a snapshot's device. Names are labels, and monitor moves them: what was opened is known by the uuid that the
// device mapper has for it, its size and its being read-only, all read from the open device.

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { deviceAttribute } from "../device-attribute.ts";
import { type OpenVolume, StorageError } from "../storage.ts";
import type { LogicalVolume } from "./lvs.ts";
import { deviceUuid, mapperName } from "./names.ts";

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
  const attribute = (name: string): string => deviceAttribute(stat.rdev, name);
  if (attribute("dm/uuid") !== deviceUuid(lv))
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
