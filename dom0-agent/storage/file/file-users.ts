// Who uses an image file just now: a loop device, a running VM's working copy, a process that has it open.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";

/** What uses the image at `path`, for a message; undefined when nobody is seen. Only root sees every process. */
export function userOf(path: string): string | undefined {
  // Qubes' file-reflink driver: a running VM writes to the copy beside it (facts of Qubes).
  const dirty = path.replace(/\.img$/, "-dirty.img");
  if (dirty !== path && existsSync(dirty))
    return `its VM runs, or was not shut down properly: ${dirty} is there`;
  const image = statSync(path, { bigint: true });
  const isImage = (other: string): boolean => {
    try {
      const stat = statSync(other, { bigint: true });
      return stat.dev === image.dev && stat.ino === image.ino;
    } catch {
      return false;
    }
  };
  for (const name of list("/sys/block")) {
    if (!name.startsWith("loop")) continue;
    const backing = readText(`/sys/block/${name}/loop/backing_file`);
    if (backing !== undefined && isImage(backing.replace(/\n$/, ""))) return `/dev/${name} is made of it`;
  }
  for (const pid of list("/proc")) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    if (list(`/proc/${pid}/fd`).some((fd) => isImage(`/proc/${pid}/fd/${fd}`)))
      return `process ${pid} has it open`;
  }
  return undefined;
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
