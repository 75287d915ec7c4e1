// The bytes of a tar that are neither a file of the session nor a chunk that counts: headers of members, what pads them,
// the end, and chunks that are dead. Every one of them follows from names, lengths and the session's name
// (archive-format.md, F27), so each is compared with what it has to be.

import { hash } from "node:crypto";
import type { ListEntry } from "../../../protocol/archive/list-file.ts";
import { chunkPath, fileNames, manifestFile } from "../../../protocol/archive/names.ts";
import {
  decodeOffsetRecord,
  isNowhere,
  type MemberPlace,
  offsetRecordBytes,
  offsetsHeadBytes,
  offsetsMemberBytes,
  tarBlockBytes,
  tarPadding,
  tarTrailerBytes,
} from "../../../protocol/archive/tar-layout.ts";
import type { ChunkAddress, SessionName } from "../../../protocol/archive/types.ts";
import { equalBytes } from "../../../protocol/bytes.ts";
import { unlessDamaged } from "../../errors.ts";
import { readStretch } from "../../files.ts";
import { chunkOfMember } from "./member-chunk.ts";
import { headerTemplate, memberHeader, timeOf } from "./member-header.ts";
import { memberSize } from "./member-size.ts";
import type { OpenTar } from "./tar-reader.ts";

/** Room is given back in blocks of this size, so a removal that was cut short has left such blocks of zeros. */
const blockBytes = 4096;
const pageRecords = 4096;

export interface TarLayoutOptions {
  readonly tar: OpenTar;
  readonly name: SessionName;
  /** Of the list in the tar: every chunk that was stored in it. */
  readonly records: Iterator<ListEntry, void, void>;
  /** Bytes of the longest chunk. */
  readonly longest: number;
  /** True for a chunk that a dead list names, so that its data may be half gone. */
  readonly isLeaving: (address: ChunkAddress) => boolean;
  readonly onMember: () => void;
  /** A chunk that is dead, and neither what it was nor zeros. */
  readonly onDeadChunk: (address: ChunkAddress) => void;
}

export interface TarLayout {
  /** Looks at all up to the member of a chunk, itself included, whose data somebody else looks at; those before it that
   *  were not named are dead. */
  upTo(address: ChunkAddress): void;
  /** Looks at the rest. */
  finish(): Promise<void>;
}

/** Begins to look at a tar. Throws nothing but what the system throws. */
export async function tarLayout(options: TarLayoutOptions): Promise<TarLayout> {
  const { tar, name, records, longest, isLeaving, onMember, onDeadChunk } = options;
  const { file, footer } = tar;
  const look = { time: timeOf(name) };
  const first = pathOf(name, 0 as ChunkAddress);
  const template = headerTemplate(await memberHeader(first, 1, look), first);
  const positions = offsetsOf(tar);
  let at = 0;
  let next = records.next().value ?? undefined;

  /** Bytes of the tar; undefined where they can't be read. */
  const bytes = (from: number, length: number): Uint8Array | undefined =>
    unlessDamaged(() => readStretch(file, from, length));
  const isZero = (from: number, length: number): boolean =>
    bytes(from, length)?.every((byte) => byte === 0) === true;

  /** Header and padding of a member whose data lies at `offset`; gives where the next one begins. */
  const member = (header: Uint8Array, { offset, length }: MemberPlace): number => {
    const found = bytes(offset - tarBlockBytes, tarBlockBytes);
    const padding = tarPadding(length);
    if (found === undefined || !equalBytes(found, header) || !isZero(offset + length, padding)) onMember();
    return offset + length + padding;
  };
  /** Members that no list names: an interrupted session's whose data was not whole, and zeros since. */
  const unlisted = (end: number): void => {
    while (at < end) {
      const header = bytes(at, tarBlockBytes);
      const address = header && chunkOfMember(header, name);
      const length = header === undefined ? Number.NaN : memberSize(header);
      if (header === undefined || address === undefined || !(length >= 1 && length <= longest)) break;
      const offset = at + tarBlockBytes;
      if (offset + length + tarPadding(length) > end) break;
      at = member(template.fill(pathOf(name, address), length), { offset, length });
      if (!isZero(offset, length)) onMember();
    }
    if (at !== end) onMember();
    at = end;
  };
  const dead = ({ address, storedLength, checksum }: ListEntry, offset: number): void => {
    const data = bytes(offset, storedLength);
    if (data !== undefined && equalBytes(hash("sha256", data, "buffer"), checksum)) return;
    if (data?.every((byte) => byte === 0) === true) return;
    if (data !== undefined && isLeaving(address) && hasZeroBlock(data, offset)) return;
    onDeadChunk(address);
  };
  const step = (entry: ListEntry, isNamed: boolean): void => {
    const { address, storedLength: length } = entry;
    const position = positions.next().value ?? undefined;
    if (position?.address !== address || position.offset < at + tarBlockBytes) {
      onMember();
      return;
    }
    const { offset } = position;
    unlisted(offset - tarBlockBytes);
    at = member(template.fill(pathOf(name, address), length), { offset, length });
    if (!isNamed) dead(entry, offset);
  };
  const stepTo = (address: number): void => {
    while (next !== undefined && next.address <= address) {
      step(next, next.address === address);
      next = records.next().value ?? undefined;
    }
  };

  return {
    upTo: stepTo,
    finish: async () => {
      stepTo(Infinity);
      const offsets = {
        offset: footer.recordsOffset - offsetsHeadBytes,
        length: offsetsMemberBytes(footer.records),
      };
      for (const [which, place] of [
        [manifestFile(footer.manifestGeneration), footer.manifest],
        [fileNames.header, footer.header],
        [fileNames.list, footer.list],
        [fileNames.offsets, offsets],
      ] as const) {
        if (isNowhere(place)) continue;
        unlisted(place.offset - tarBlockBytes);
        at = member(await memberHeader(`${name}/${which}`, place.length, look), place);
      }
      if (at !== file.length - tarTrailerBytes || !isZero(at, tarTrailerBytes)) onMember();
    },
  };
}

function pathOf(name: SessionName, address: ChunkAddress): string {
  const { group, file } = chunkPath(address);
  return `${name}/${group}/${file}`;
}

/** True where a block that a removal gives back as a whole is zeros. */
function hasZeroBlock(data: Uint8Array, offset: number): boolean {
  for (
    let at = Math.ceil(offset / blockBytes) * blockBytes - offset;
    at + blockBytes <= data.length;
    at += blockBytes
  )
    if (data.subarray(at, at + blockBytes).every((byte) => byte === 0)) return true;
  return false;
}

function* offsetsOf({ file, footer }: OpenTar): Generator<ReturnType<typeof decodeOffsetRecord>, void, void> {
  for (let done = 0; done < footer.records; done += pageRecords) {
    const count = Math.min(pageRecords, footer.records - done);
    const page = readStretch(
      file,
      footer.recordsOffset + done * offsetRecordBytes,
      count * offsetRecordBytes,
    );
    for (let i = 0; i < count; i++) yield decodeOffsetRecord(page, i * offsetRecordBytes);
  }
}
