// Removing single chunk files of a session that stays.

import { rmdirSync, unlinkSync } from "node:fs";
import { chunkPath } from "../../../protocol/archive/names.ts";
import type { ChunkAddress } from "../../../protocol/archive/types.ts";
import { type Directory, openIfThere } from "../../directory.ts";
import { unless } from "../../errors.ts";
import { statOf } from "../../files.ts";
import { pace } from "../pace.ts";
import { storageOf } from "../remove.ts";
import type { OnRemoved } from "../store.ts";

/** Unlinks the chunk files of rising addresses, and the groups that are empty then. What is not there is fine. */
export async function removeChunkFiles(
  session: Directory,
  addresses: Iterable<ChunkAddress>,
  onRemoved: OnRemoved,
): Promise<void> {
  const turn = pace();
  let open: { readonly name: string; readonly directory: Directory | undefined } | undefined;
  const close = (): void => {
    if (open?.directory === undefined) return;
    open.directory[Symbol.dispose]();
    const { name } = open;
    unless(["ENOTEMPTY", "EEXIST"], () => rmdirSync(session.at(name)));
  };
  try {
    for (const address of addresses) {
      await turn();
      const { group, file } = chunkPath(address);
      if (open?.name !== group) {
        close();
        open = { name: group, directory: openIfThere(session, group) };
      }
      const { directory } = open;
      const stat = directory && statOf(directory, file);
      const isThere = directory !== undefined && stat?.isFile() === true;
      if (isThere) unlinkSync(directory.at(file));
      onRemoved(isThere ? storageOf(stat) : 0);
    }
  } finally {
    close();
  }
}
