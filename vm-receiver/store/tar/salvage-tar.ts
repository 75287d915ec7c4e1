// Making a container of the tar that an interrupted session has left: its whole members stay, and the rest of it is
// written anew behind them.

import { closeSync, constants, fdatasync, ftruncateSync, openSync, renameSync } from "node:fs";
import { promisify } from "node:util";
import {
  encodeOffsetRecord,
  offsetRecordBytes,
  tarBlockBytes,
  tarPadding,
} from "../../../protocol/archive/tar-layout.ts";
import { type ChunkAddress, maxStoredLength } from "../../../protocol/archive/types.ts";
import { type Directory, openIfThere, syncDirectory } from "../../directory.ts";
import { RefusalError, unlessDamaged } from "../../errors.ts";
import { openFile, readStretch, removeFile, statOf, type StoredFile, writeAll } from "../../files.ts";
import { createPartDirectory, syncOrForsake } from "../part.ts";
import { publishFile } from "../publish.ts";
import { checkTree, removeTree } from "../remove.ts";
import { salvageList } from "../salvage-list.ts";
import { createSpool } from "../spool.ts";
import { offsetsPart, tarPart } from "../spool-names.ts";
import type { Salvageable } from "../store.ts";
import type { MemberLook } from "./member-header.ts";
import { chunkOfMember } from "./member-chunk.ts";
import { memberSize } from "./member-size.ts";
import { tarAppender } from "./tar-appender.ts";

const syncData = promisify(fdatasync);

/**
 * Turns the part, or a tar that was finished and never committed, into a container (Store.salvage). Can be cut short
 * anywhere and done again: the part's record stays until the tar has its name.
 */
export async function salvageTar(
  volume: Directory,
  names: { readonly partName: string; readonly finishedName: string },
  leftover: Salvageable,
  look: MemberLook,
): Promise<number> {
  await unpublish(volume, names, leftover);
  using part = openIfThere(volume, names.partName);
  if (part === undefined) return 0;
  await checkTree(part);
  const chunks = await rebuild(part, leftover, look);
  if (chunks === 0) return 0;
  publishFile(part, tarPart, volume, names.finishedName);
  await removeTree(volume, names.partName);
  syncDirectory(volume);
  return chunks;
}

/** Takes a finished tar back into a part, where there may be one already: the publishing may have been cut short. */
async function unpublish(
  volume: Directory,
  { partName, finishedName }: { readonly partName: string; readonly finishedName: string },
  { name, identity, chunkSize }: Salvageable,
): Promise<void> {
  const finished = statOf(volume, finishedName);
  if (finished === undefined) return;
  if (statOf(volume, partName) === undefined) {
    const record = { ...identity, form: "tar", name, chunkSize, size: 0 } as const;
    (await createPartDirectory(volume, partName, record))[Symbol.dispose]();
  }
  using part = openIfThere(volume, partName);
  if (part === undefined) return;
  const inPart = statOf(part, tarPart);
  if (inPart === undefined) {
    renameSync(volume.at(finishedName), part.at(tarPart));
    syncDirectory(part);
  } else if (inPart.ino === finished.ino && inPart.dev === finished.dev) {
    removeFile(volume, finishedName);
  } else {
    throw new RefusalError(
      "not-allowed",
      "two tars of one session that was never committed: look at them by hand",
    );
  }
  syncDirectory(volume);
}

/** Lists the whole members, and writes what follows them. Gives the number of chunks. The tar is closed again: NFS and FUSE
 *  give what is removed while it is open another name in its directory. */
async function rebuild(part: Directory, leftover: Salvageable, look: MemberLook): Promise<number> {
  using tar = openFile(part, tarPart);
  if (tar === undefined) return 0;
  removeFile(part, offsetsPart);
  using list = salvageList(part, leftover);
  using offsets = createSpool(part, offsetsPart);
  const record = new Uint8Array(offsetRecordBytes);
  let end = 0;
  const refused: Member[] = [];
  for (const member of wholeMembers(tar, leftover)) {
    end = member.end;
    const stored = unlessDamaged(() => readStretch(tar, member.offset, member.size));
    if (stored === undefined || !(await list.add(member.address, stored))) {
      refused.push(member);
      continue;
    }
    encodeOffsetRecord(record, 0, member);
    offsets.append(record);
  }
  if (list.chunks === 0) return 0;
  await syncOrForsake(part, async () => list.replace());
  offsets.flush();
  const fd = openSync(part.at(tarPart), constants.O_WRONLY | constants.O_NOFOLLOW);
  try {
    ftruncateSync(fd, end);
    // No list names these, so nobody could tell whether they rot.
    for (const { offset, size } of refused) writeAll(fd, new Uint8Array(size), offset);
    await tarAppender(fd, end, leftover.name, look).finish(part, leftover.identity, list.chunks, undefined);
    await syncOrForsake(part, async () => syncData(fd));
  } finally {
    closeSync(fd);
  }
  return list.chunks;
}

interface Member {
  readonly address: ChunkAddress;
  /** Of the data. */
  readonly offset: number;
  readonly size: number;
  /** Behind its padding. */
  readonly end: number;
}

/** The tar's chunks from its beginning, up to the first member that is none or not all there. */
function* wholeMembers(tar: StoredFile, { name, chunkSize }: Salvageable): Generator<Member, void, void> {
  const longest = maxStoredLength(chunkSize);
  let next = 0;
  for (let at = 0; at + tarBlockBytes <= tar.length;) {
    const header = unlessDamaged(() => readStretch(tar, at, tarBlockBytes));
    if (header === undefined) return;
    const address = chunkOfMember(header, name);
    const size = memberSize(header);
    const offset = at + tarBlockBytes;
    const end = offset + size + tarPadding(size);
    if (address === undefined || address < next || !(size >= 1 && size <= longest) || end > tar.length)
      return;
    yield { address, offset, size, end };
    next = address + 1;
    at = end;
  }
}
