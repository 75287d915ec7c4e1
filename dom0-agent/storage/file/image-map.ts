// Which stretches of an image file may hold data, by the file system's own extents (filefrag, from e2fsprogs). What
// it does not say with certainty counts as data: a stretch too many costs a read, one too few would lose it.

import type { Extent } from "../storage.ts";
import { runTool } from "../../tools.ts";

/** Stretches of the open file at `path` that may hold data, in rising order, clamped to `size` bytes. */
export async function* mappedExtents(
  path: string,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<Extent> {
  const result = await runTool("filefrag", ["-s", "-e", "-b1", path], { signal });
  const extents = result.exitCode === 0 ? parseFilefrag(result.stdout, size) : undefined;
  if (extents !== undefined) yield* extents;
  else if (size > 0) yield { offset: 0, length: size };
}

/**
 * The extents that `filefrag -e -b1` lists, merged and clamped to `size`. undefined where the list is not complete or
 * not of the form that we know: then the whole file is read.
 */
export function parseFilefrag(untrustedOutput: string, size: number): readonly Extent[] | undefined {
  const lines = untrustedOutput.split("\n").filter((line) => line !== "");
  const header = lines.findIndex((line) => /^\s*ext:\s+logical_offset:/.test(line));
  const summary = /:\s+(\d+) extents? found$/.exec(lines.at(-1) ?? "");
  if (summary !== null && summary[1] === "0" && header < 0) return [];
  if (header < 0 || summary === null) return undefined;
  const rows = lines.slice(header + 1, -1);
  if (rows.length !== Number(summary[1])) return undefined;
  const extents: { offset: number; length: number }[] = [];
  for (const [i, row] of rows.entries()) {
    const match = /^\s*(\d+):\s*(\d+)\.\.\s*(\d+):\s*\d+\.\.\s*\d+:\s*(\d+):/.exec(row);
    if (match === null || Number(match[1]) !== i) return undefined;
    const start = Number(match[2]);
    const end = Number(match[3]) + 1;
    const last = extents.at(-1);
    if (end - start !== Number(match[4]) || (last && start < last.offset + last.length)) return undefined;
    if (last && last.offset + last.length === start) last.length = end - last.offset;
    else extents.push({ offset: start, length: end - start });
  }
  return extents
    .filter((extent) => extent.offset < size)
    .map((extent) => ({ offset: extent.offset, length: Math.min(extent.length, size - extent.offset) }));
}
