// Giving stretches of an open volume back to whatever holds it, so that they occupy nothing and read as zeros. Node has
// neither fallocate(2) nor the ioctl of a discard, so fallocate(1) and blkdiscard(8) do it, many stretches a shell.

import { fstatSync } from "node:fs";
import { runTool } from "../tools.ts";
import { deviceAttribute, deviceNumbers } from "./device-attribute.ts";
import type { Extent } from "../delta/extent.ts";

export interface Punch {
  /** Bytes: only whole pieces of so many, counted from the volume's beginning, can be given back. */
  readonly granularity: number;
  /** Gives stretches back that begin and end at multiples of it. False where that can't be done here: then some of them
   *  may have gone and others not. */
  readonly giveBack: (stretches: readonly Extent[]) => Promise<boolean>;
}

const blockBytes = 4096;
/** Stretches of one shell: what fits its arguments. */
const batch = 400;

// A discard of a thin volume unmaps whole chunks of the pool, which then read as zeros. Other devices promise nothing of
// the kind, so there a hole is asked for, which the kernel refuses where it would not be zeros. With --force blkdiscard
// opens a device that we hold exclusively, and does not look what is on it.
const commands = {
  discard: "blkdiscard --force --offset",
  hole: "fallocate --punch-hole --offset",
} as const;

/** How to give back stretches of `fd`, a regular file or a block device that is open for writing. */
export async function punchFor(fd: number): Promise<Punch> {
  const stat = fstatSync(fd);
  if (stat.isBlockDevice() && (await isThin(stat.rdev))) {
    const granularity = Number(deviceAttribute(stat.rdev, "queue/discard_granularity"));
    if (granularity > 0) return { granularity, giveBack: async (all) => giveBack(fd, "discard", all) };
  }
  return { granularity: blockBytes, giveBack: async (all) => giveBack(fd, "hole", all) };
}

/** True for a thin volume of the device mapper. */
async function isThin(rdev: number): Promise<boolean> {
  const { major, minor } = deviceNumbers(rdev);
  const of = ["--major", String(major), "--minor", String(minor)];
  const { exitCode, stdout } = await runTool("dmsetup", ["table", "--target", "thin", ...of]);
  return exitCode === 0 && / thin /.test(stdout);
}

async function giveBack(
  fd: number,
  how: keyof typeof commands,
  stretches: readonly Extent[],
): Promise<boolean> {
  const script = `while [ $# -gt 0 ]; do
  ${commands[how]} "$1" --length "$2" /proc/self/fd/0 || exit 1
  shift 2
done`;
  for (let at = 0; at < stretches.length; at += batch) {
    const words = stretches
      .slice(at, at + batch)
      .flatMap(({ offset, length }) => [String(offset), String(length)]);
    const { exitCode } = await runTool("sh", ["-c", script, "sh", ...words], { stdinFd: fd });
    if (exitCode !== 0) return false;
  }
  return true;
}
