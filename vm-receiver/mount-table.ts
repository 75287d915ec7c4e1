// /proc/self/mountinfo, as far as it says what is mounted where (proc_pid_mountinfo(5)).

import { readFileSync } from "node:fs";

export interface Mount {
  readonly id: number;
  readonly path: string;
  /** Mounted, or its file system, read-only. */
  readonly readOnly: boolean;
  readonly type: string;
}

/** The mounts that `text`, the content of a mountinfo file, lists. Lines that can't be read are left out. */
export function parseMountTable(text: string): readonly Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ", 2);
    const [id = "", , , , path = "", options = ""] = before.split(" ");
    const [type = "", , superOptions = ""] = after.split(" ");
    if (!/^\d+$/.test(id) || !path.startsWith("/")) continue;
    const readOnly = options.split(",").includes("ro") || superOptions.split(",").includes("ro");
    mounts.push({ id: Number(id), path: decodeOctal(path), readOnly, type });
  }
  return mounts;
}

/** The kernel writes space, tab, newline and backslash, byte by byte, as \ and three octal digits. */
function decodeOctal(path: string): string {
  return path.replaceAll(/\\([0-3][0-7]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** This process's mounts. */
export function mountTable(): readonly Mount[] {
  return parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
}

/** The id of the mount that an open descriptor lies on. */
export function mountIdOf(fd: number): number {
  const match = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
  if (match?.[1] === undefined) throw new Error(`/proc/self/fdinfo/${fd} has no mnt_id`);
  return Number(match[1]);
}
