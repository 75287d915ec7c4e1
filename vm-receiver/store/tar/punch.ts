// Giving the room of dead chunks in a tar back to the file system: all of their data becomes zeros, whole blocks of it a
// hole, headers stay, so the tar stays one. Node has no fallocate(2), so fallocate(1) does it, many ranges a shell, which costs about a millisecond each.

import { closeSync, constants, fdatasync, openSync } from "node:fs";
import { promisify } from "node:util";
import type { ChunkAddress, SessionName } from "../../../protocol/archive/types.ts";
import { fileNames } from "../../../protocol/archive/names.ts";
import { tarBlockBytes } from "../../../protocol/archive/tar-layout.ts";
import type { Directory } from "../../directory.ts";
import { RefusalError, unlessDamaged } from "../../errors.ts";
import { readStretch } from "../../files.ts";
import { runOn } from "../../tools.ts";
import { pace } from "../pace.ts";
import type { OnRemoved } from "../store.ts";
import { chunkOfMember } from "./member-chunk.ts";
import { memberSize } from "./member-size.ts";
import { offsetFinder } from "./offset-finder.ts";
import { readTarFooter } from "./tar-reader.ts";

const syncData = promisify(fdatasync);
/** File systems give room back in blocks of this size, mostly; a chunk that fills none of them is left as it is. */
const blockBytes = 4096;
const batch = 400;
const script = `while [ $# -gt 0 ]; do
  fallocate --punch-hole --offset "$1" --length "$2" /proc/self/fd/0 || exit 1
  shift 2
done`;

/** Punches out the data of these chunks; one that the tar does not have, or not where it says, or can't say
 *  where, is left. RefusalError `io`. */
export async function punchChunks(
  volume: Directory,
  name: SessionName,
  addresses: Iterable<ChunkAddress>,
  onRemoved: OnRemoved,
): Promise<void> {
  const turn = pace();
  const file = name + fileNames.tarSuffix;
  const tar = unlessDamaged(() => readTarFooter(volume, file));
  if (tar === undefined) return;
  using opened = tar.file;
  const offsetOf = offsetFinder(tar.footer, (into, offset) =>
    into.set(readStretch(opened, offset, into.length)),
  );
  const fd = openSync(volume.at(file), constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    let freed = 0;
    let ranges: number[] = [];
    const flush = async (): Promise<void> => {
      if (ranges.length > 0) await punchRanges(fd, ranges);
      onRemoved(freed);
      ranges = [];
      freed = 0;
    };
    for (const address of addresses) {
      await turn();
      onRemoved(0);
      const offset = unlessDamaged(() => offsetOf(address));
      if (offset === undefined || offset < tarBlockBytes) continue;
      const header = unlessDamaged(() => readStretch(opened, offset - tarBlockBytes, tarBlockBytes));
      if (header === undefined || chunkOfMember(header, name) !== address) continue;
      const size = memberSize(header);
      const from = Math.ceil(offset / blockBytes) * blockBytes;
      const to = Math.floor((offset + size) / blockBytes) * blockBytes;
      if (!(to > from)) continue;
      // Its ends too, so that every byte that is left in the tar can be checked (tar/layout.ts).
      ranges.push(offset, size);
      freed += to - from;
      if (ranges.length >= 2 * batch) await flush();
    }
    await flush();
    await syncData(fd);
  } finally {
    closeSync(fd);
  }
}

async function punchRanges(fd: number, ranges: readonly number[]): Promise<void> {
  const { exitCode, problem } = await runOn(fd, "sh", ["-c", script, "sh", ...ranges.map(String)]);
  if (exitCode !== 0) throw new RefusalError("io", `punching holes failed: ${problem}`);
}

/** True where holes can be punched into the open file, of at least a block. */
export async function canPunch(fd: number): Promise<boolean> {
  return (await runOn(fd, "sh", ["-c", script, "sh", "0", String(blockBytes)])).exitCode === 0;
}
