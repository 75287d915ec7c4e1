// Removing single chunk files of a session that stays.

import { rmdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { chunkPath } from "../../../protocol/archive/names.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { type Directory, openIfThere } from "../../directory.ts";
import { unless } from "../../errors.ts";
import { removeFile, statOf } from "../../files.ts";
import { storageOf } from "../remove.ts";

const stepFiles = 512;

/** Unlinks the chunk files of rising addresses, and the groups that are empty then. What is not there is fine. Gives the
 *  bytes that came free. */
export async function removeChunkFiles(
  session: Directory,
  addresses: Iterable<ChunkAddress>,
): Promise<number> {
  let freed = 0;
  let count = 0;
  let open: { readonly name: string; readonly directory: Directory | undefined } | undefined;
  const close = (): void => {
    if (open?.directory === undefined) return;
    open.directory[Symbol.dispose]();
    const { name } = open;
    unless(["ENOTEMPTY", "EEXIST"], () => rmdirSync(session.at(name)));
  };
  try {
    for (const address of addresses) {
      const { group, file } = chunkPath(address);
      if (open?.name !== group) {
        close();
        open = { name: group, directory: openIfThere(session, group) };
      }
      const { directory } = open;
      const stat = directory && statOf(directory, file);
      if (directory === undefined || stat?.isFile() !== true) continue;
      freed += storageOf(stat);
      removeFile(directory, file);
      if (++count % stepFiles === 0) await nextTurn();
    }
  } finally {
    close();
  }
  return freed;
}
