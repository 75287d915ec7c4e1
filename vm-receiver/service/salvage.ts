// salvage: what a session that was cut short has stored is not sent again. What can be read back becomes a container
// without a session; its list goes to the agent, which alone knows what the chunks mean.

import { crc32 } from "node:zlib";
import { decompress } from "../../protocol/archive/decompress.ts";
import type { SessionName, Generation } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Salvage } from "../../protocol/wire/messages.ts";
import { type Directory, openIfThere } from "../directory.ts";
import { RefusalError } from "../errors.ts";
import { statOf, type StoredFile } from "../files.ts";
import type { Archive } from "../store/archive.ts";
import { type Leftover, leftoversIn } from "../store/leftovers.ts";
import { stores } from "../store/stores.ts";

/** Makes the container and opens its list. RefusalError `missing` where there is no such session, or nothing of it is
 *  usable. */
export async function salvage(
  archive: Archive,
  { directory, session }: Salvage,
  onBytes: (bytes: number) => void,
): Promise<StoredFile> {
  const header = archive.header()?.header;
  using volume = openIfThere(archive.root, directory);
  const found = volume && header && find(archive, volume, directory, session);
  const identity = found?.identity;
  if (header === undefined || volume === undefined || found === undefined || identity === undefined)
    throw new RefusalError("missing", "there is no uncommitted session of that uid");
  if (!equalBytes(identity.archive, header.uuid))
    throw new RefusalError("not-allowed", "the uncommitted session is another archive's");
  checkNameIsFree(archive, volume, directory, found, session);
  const { chunkSize, sealed } = header;
  const isWhole = sealed ? isWholeSealed : (stored: Uint8Array) => isWholeFrame(stored, chunkSize);
  const chunks = await stores[found.form].salvage(volume, {
    name: found.name,
    identity,
    chunkSize,
    isWhole,
    onBytes,
  });
  const list = chunks === 0 ? undefined : openList(volume, found.form, found.name);
  if (list === undefined) throw new RefusalError("missing", "nothing of the uncommitted session is usable");
  return list;
}

/** A finished session of the leftover's name is the leftover itself, or another one, which no salvage may touch: it may be
 *  committed, or pruned and kept for its time. */
function checkNameIsFree(
  archive: Archive,
  volume: Directory,
  directory: string,
  { form, name }: Leftover,
  session: Salvage["session"],
): void {
  if (statOf(volume, stores[form].finishedName(name)) === undefined) return;
  const inHead = archive.volumeIn(directory);
  const committed = inHead === undefined ? [] : archive.containers(inHead);
  const there = stores[form].identityOf(volume, name);
  const isIt = there !== undefined && equalBytes(there.session, session);
  if (isIt && !committed.some((each) => each.name === name && each.form === form)) return;
  throw new RefusalError("exists", "another session has the name of the one that was never committed");
}

function find(
  archive: Archive,
  volume: Directory,
  directory: string,
  session: Salvage["session"],
): Leftover | undefined {
  return [...leftoversIn(archive, volume, directory)].find(
    ({ identity }) => identity !== undefined && equalBytes(identity.session, session),
  );
}

function openList(volume: Directory, form: "dir" | "tar", name: SessionName): StoredFile | undefined {
  return stores[form].open(volume, name, { kind: "list", generation: 0 as Generation });
}

/** A zstd frame, and nothing else, that decompresses, its checksum included, to no more than a chunk (archive-format.md,
 *  F25). Nobody looks at what it holds: dom0 takes what it noted itself when it sent it. */
function isWholeFrame(stored: Uint8Array, chunkSize: number): boolean {
  try {
    return decompress(stored, chunkSize).length > 0;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** A sealed chunk ends with the CRC-32 of all before it. */
function isWholeSealed(stored: Uint8Array): boolean {
  const end = stored.length - 4;
  if (end < 0) return false;
  const stated = new DataView(stored.buffer, stored.byteOffset + end, 4).getUint32(0);
  return crc32(stored.subarray(0, end)) === stated;
}
