// What a write leaves beside itself on an open volume, and reading what is really there.

import { fstatSync, fsyncSync } from "node:fs";
import { StorageError } from "./storage.ts";
import { deviceNumbers } from "./device-attribute.ts";
import { runTool } from "../tools.ts";

/** False for a thin volume of a pool that does not zero what it maps: the rest of a piece of it that a write maps holds
 *  what others have left there. */
export async function zeroesWhatItMaps(fd: number): Promise<boolean> {
  const stat = fstatSync(fd);
  if (!stat.isBlockDevice()) return true;
  const { major, minor } = deviceNumbers(stat.rdev);
  const pool = / thin (\d+):(\d+) /.exec(await tableOf("thin", String(major), String(minor)));
  const [, poolMajor = "", poolMinor = ""] = pool ?? [];
  return pool === null || !(await tableOf("thin-pool", poolMajor, poolMinor)).includes("skip_block_zeroing");
}

/** The table of a device of the device mapper, if it has such a target; else nothing. */
async function tableOf(target: string, major: string, minor: string): Promise<string> {
  const args = ["table", "--target", target, "--major", major, "--minor", minor];
  const { exitCode, stdout } = await runTool("dmsetup", args);
  return exitCode === 0 ? stdout : "";
}

/** Makes what was written to a block device last, and has the next read of it come from the device and not from memory.
 *  Throws StorageError `tool`. */
export async function rereadDevice(fd: number): Promise<void> {
  fsyncSync(fd);
  const { exitCode, stderr } = await runTool("blockdev", ["--flushbufs", `/proc/${process.pid}/fd/${fd}`]);
  if (exitCode !== 0) throw new StorageError("tool", `blockdev --flushbufs: ${stderr.trim()}`);
}
