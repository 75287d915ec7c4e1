import { closeSync, openSync } from "node:fs";
import { expect, test } from "vitest";
import { mountIdOf, mountTable, parseMountTable } from "../../vm-receiver/mount-table.ts";

test("lines as the kernel writes them", () => {
  const text = [
    "22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw",
    "96 28 8:17 / /run/media/user/My\\040Drive\\134\\011x rw,nosuid shared:50 master:3 - ext4 /dev/sdb1 rw,errors=remount-ro",
    "97 28 8:18 / /mnt/ro ro,relatime - vfat /dev/sdc1 rw",
    "98 28 8:19 / /mnt/super rw,relatime - ext4 /dev/sdd1 ro",
    "nonsense",
    "",
  ].join("\n");
  expect(parseMountTable(text)).toEqual([
    { id: 22, path: "/sys", readOnly: false, type: "sysfs" },
    { id: 96, path: "/run/media/user/My Drive\\\tx", readOnly: false, type: "ext4" },
    { id: 97, path: "/mnt/ro", readOnly: true, type: "vfat" },
    { id: 98, path: "/mnt/super", readOnly: true, type: "ext4" },
  ]);
});

test("the mount of an open directory is the one that the table has at its path", () => {
  const fd = openSync("/proc", "r");
  const id = mountIdOf(fd);
  closeSync(fd);
  expect(mountTable().find((mount) => mount.id === id)?.path).toBe("/proc");
});
