// Which lost chunks a volume of this machine holds: known by reading it where sessions had them. A send of it puts those
// back.

import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { chunkLength } from "../../protocol/archive/manifest.ts";
import { toHex } from "../../protocol/bytes.ts";
import { ReadError, readFully } from "../read-fully.ts";
import type { OpenArchive } from "../archive/archive.ts";
import type { ViewedVolume } from "../archive/archive-view.ts";
import type { Context } from "../context.ts";
import { lookLock, openLook } from "../monitor/look-snapshot.ts";
import { StorageError } from "../storage/storage.ts";
import type { Uses } from "./find-uses.ts";

/** By hexadecimal id the name of a volume that holds the chunk, for those of `wanted` that one of the volumes does. What
 *  can't be looked at holds nothing, which is said. */
export async function lookHere(
  context: Context,
  open: OpenArchive,
  volumes: readonly ViewedVolume[],
  { addresses }: Pick<Uses, "addresses">,
  wanted: ReadonlySet<string>,
): Promise<ReadonlyMap<string, string>> {
  const held = new Map<string, string>();
  using _lock = await lookLock(context.state, "check --repair");
  for (const { index } of volumes) {
    const { name } = index;
    const own = [...(addresses.get(toHex(index.volume)) ?? [])].filter(
      ([id]) => wanted.has(id) && !held.has(id),
    );
    if (own.length === 0) continue;
    try {
      const { volumes: here } = await context.storage.survey([name]);
      if (!here.has(name)) continue;
      await using volume = await openLook(context, name, { committed: false });
      const { idKey } = open.seal.chunkKeys(index.group);
      for (const [id, at] of own) {
        context.signal.throwIfAborted();
        const isThere = at.some(
          (address) => address < volume.size && idAt(volume, address, open.record.chunkSize, idKey) === id,
        );
        if (isThere) held.set(id, name);
      }
      await volume.checkUnchanged();
    } catch (error) {
      if (!(error instanceof StorageError || error instanceof ReadError)) throw error;
      for (const [id, of] of held) if (of === name) held.delete(id);
      context.report.notice(`${name}: whether it holds what is lost can't be said: ${error.message}`);
    }
  }
  return held;
}

function idAt(
  { fd, size }: { readonly fd: number; readonly size: number },
  address: number,
  chunkSize: number,
  idKey: Uint8Array,
): string {
  const plain = new Uint8Array(chunkLength(address, size, chunkSize));
  readFully(fd, plain, address, "the volume");
  return toHex(chunkIdOf(idKey, plain));
}
