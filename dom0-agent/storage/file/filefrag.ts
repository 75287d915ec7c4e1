// Which stretches of an image file may hold data, by the file system's own extents (filefrag, from e2fsprogs). What
// it does not say with certainty counts as data: a stretch too many costs a read, one too few would lose it.

import { runTool } from "../../tools.ts";
import type { Extent } from "../../delta/extent.ts";

/** File systems whose extents are known to be right once a file is synced, as filefrag names them: ext2 to ext4, XFS,
 *  Btrfs. For others filefrag may fall back to older ways of asking, which some answer wrongly. */
const trusted = new Set(["ef53", "58465342", "9123683e"]);

/** Extents with any other mark make the whole list useless: `inline` and `not_aligned` are counted in other units. */
const knownFlags = new Set([
  "last",
  "eof",
  "shared",
  "unwritten",
  "encoded",
  "merged",
  "delalloc",
  "unknown_loc",
]);

const typeLine = /^Filesystem type is: ([0-9a-f]+)$/;
const sizeLine = /^File size of \/proc\/self\/fd\/0 is (\d{1,16}) \(\d+ blocks? of (\d{1,8}) bytes\)$/;
/** An old kind of file, without extents of its own. */
const groupsLine = /^Filesystem cylinder groups approximately \d+$/;
const headerLine = /^\s*ext:\s+logical_offset:\s+physical_offset:\s+length:\s+expected:\s+flags:$/;
const rowLine = /^\s*(\d+):\s*(\d{1,15})\.\.\s*(\d{1,15}):\s*\d+\.\.\s*\d+:\s*\d+:(?:\s*\d+:)?\s*([a-z_,]*)$/;
const endLine = /^\/proc\/self\/fd\/0: (\d+) extents? found$/;

/** Stretches of the open file `fd` of `size` bytes that may hold data, in rising order. The file is synced first. */
export async function mappedExtents(
  fd: number,
  size: number,
  signal: AbortSignal,
): Promise<readonly Extent[]> {
  const whole = size === 0 ? [] : [{ offset: 0, length: size }];
  const result = await runTool("filefrag", ["-s", "-e", "/proc/self/fd/0"], { stdinFd: fd, signal });
  signal.throwIfAborted();
  return (result.exitCode === 0 ? parseFilefrag(result.stdout, size) : undefined) ?? whole;
}

/**
 * The extents that `filefrag -s -e` lists of its standard input, merged and clamped to `size`. undefined where the list
 * is not complete, not of the form that we know, or of a file system that is not trusted with it.
 */
export function parseFilefrag(untrustedOutput: string, size: number): readonly Extent[] | undefined {
  const lines = untrustedOutput.split("\n");
  if (lines.pop() !== "") return undefined;
  const [type = "", fileSize = "", ...rest] = lines.filter((line) => !groupsLine.test(line));
  const end = endLine.exec(rest.pop() ?? "");
  const [, foundSize, blockText] = sizeLine.exec(fileSize) ?? [];
  const block = Number(blockText);
  if (!trusted.has(typeLine.exec(type)?.[1] ?? "") || end === null || Number(foundSize) !== size)
    return undefined;
  if (rest.length === 0) return end[1] === "0" ? [] : undefined;
  if (!headerLine.test(rest[0] ?? "")) return undefined;
  const extents: { offset: number; length: number }[] = [];
  let next = 0;
  let isLast = false;
  for (const [i, line] of rest.slice(1).entries()) {
    const [row, number, first, final, flagText = ""] = rowLine.exec(line) ?? [];
    const flags = flagText === "" ? [] : flagText.split(",");
    const offset = Number(first) * block;
    const behind = (Number(final) + 1) * block;
    if (row === undefined || isLast || Number(number) !== i || offset < next || behind <= offset)
      return undefined;
    if (flags.some((flag) => !knownFlags.has(flag)) || behind > Number.MAX_SAFE_INTEGER) return undefined;
    isLast = flags.includes("last");
    next = behind;
    const length = Math.min(behind, size) - offset;
    const before = extents.at(-1);
    if (before !== undefined && before.offset + before.length === offset)
      before.length += Math.max(0, length);
    else if (length > 0) extents.push({ offset, length });
  }
  return isLast ? extents : undefined;
}
