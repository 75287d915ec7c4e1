// Opening a logical volume to write to it. What was opened is known by the uuid that the device mapper has for it, and
// nobody else may hold it.

import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { deviceAttribute } from "../device-attribute.ts";
import { StorageError } from "../storage.ts";
import type { LogicalVolume } from "./lvs.ts";
import { deviceUuid, mapperName } from "./names.ts";

export interface WritableDevice extends Disposable {
  readonly fd: number;
}

/** Opens `lv` exclusively. Throws StorageError `unusable` when it is in use, `gone` when another one has its name. */
export function openWritable(vg: string, lv: LogicalVolume): WritableDevice {
  const path = `/dev/mapper/${mapperName(vg, lv.name)}`;
  let fd: number;
  try {
    // O_EXCL on a block device: fails while it is mounted, or held by another device.
    fd = openSync(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EBUSY") throw new StorageError("unusable", `open ${vg}/${lv.name}: it is in use`);
    throw new StorageError(code === "ENOENT" ? "gone" : "tool", `open ${vg}/${lv.name}: ${message}`);
  }
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  try {
    const { rdev } = fstatSync(fd);
    if (!fstatSync(fd).isBlockDevice() || deviceAttribute(rdev, "dm/uuid") !== deviceUuid(lv))
      throw new StorageError("gone", `open ${path}: it is another volume by now`);
    const size = Number(deviceAttribute(rdev, "size")) * 512;
    if (size !== lv.size)
      throw new StorageError("tool", `open ${path}: found ${size} bytes, wanted ${lv.size}`);
  } catch (error) {
    close();
    throw error;
  }
  return { fd, [Symbol.dispose]: close };
}
