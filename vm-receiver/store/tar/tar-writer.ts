// Writing a session as one tar (protocol/archive/tar-layout.ts): chunks as they come; list, header and manifest lie
// beside it until the end. Offsets are spooled to a file, so memory does not grow with the session.

import { closeSync, fdatasync, writevSync } from "node:fs";
import { promisify } from "node:util";
import { chunkPath, fileNames, manifestFile } from "../../../protocol/archive/names.ts";
import {
  encodeOffsetRecord,
  type MemberPlace,
  offsetRecordBytes,
  offsetsBuilder,
  offsetsHeadBytes,
  offsetsMemberBytes,
  tarBlockBytes,
  tarPadding,
  tarTrailerBytes,
} from "../../../protocol/archive/tar-layout.ts";
import { type Directory, syncDirectory } from "../../directory.ts";
import { createFile, openFile, readStretch, writeAll } from "../../files.ts";
import { InternalError } from "../../../protocol/errors.ts";
import type { Part } from "../part.ts";
import { publishFile } from "../publish.ts";
import { removeTree } from "../remove.ts";
import { createSpool } from "../spool.ts";
import { offsetsPart, tarPart } from "../spool-names.ts";
import type { NewSession, SessionWriter } from "../store.ts";
import { type HeaderTemplate, memberHeader, type MemberLook } from "./member-header.ts";

const syncData = promisify(fdatasync);
const zeros = new Uint8Array(tarBlockBytes);
const copyBytes = 1024 * 1024;

export interface TarParts {
  readonly volume: Directory;
  readonly part: Part;
  readonly partName: string;
  readonly finishedName: string;
  readonly session: NewSession;
  readonly look: MemberLook;
  readonly template: HeaderTemplate;
}

/** Writes a session in the part that was made for it. */
export function tarWriter({
  volume,
  part,
  partName,
  finishedName,
  session,
  look,
  template,
}: TarParts): SessionWriter {
  const tar = createFile(part.directory, tarPart);
  const offsets = createSpool(part.directory, offsetsPart);
  const record = new Uint8Array(offsetRecordBytes);
  let end = 0;

  const put = (parts: readonly Uint8Array[]): void => {
    const written = writevSync(tar, parts, end);
    // A write that was cut short, by a full disk or a limit: go on part by part, and hear why.
    let from = 0;
    for (const each of parts) {
      const done = Math.min(Math.max(written - from, 0), each.length);
      if (done < each.length) writeAll(tar, each.subarray(done), end + from + done);
      from += each.length;
    }
    end += from;
  };

  /** Appends a file of the part as a member. */
  const copy = async (file: string): Promise<MemberPlace> => {
    using from = openFile(part.directory, file);
    if (from === undefined) throw new InternalError(`a session without ${file}`);
    put([await memberHeader(`${session.name}/${file}`, from.length, look)]);
    const place = { offset: end, length: from.length };
    for (let at = 0; at < from.length; at += copyBytes) {
      put([readStretch(from, at, Math.min(copyBytes, from.length - at))]);
    }
    put([zeros.subarray(0, tarPadding(from.length))]);
    return place;
  };

  /** Appends the member that says where everything lies, and what ends a tar. */
  const finish = async (): Promise<void> => {
    const manifest = await copy(manifestFile(session.generation));
    const header = await copy(fileNames.header);
    const list = await copy(fileNames.list);
    const records = part.written.chunks;
    put([await memberHeader(`${session.name}/${fileNames.offsets}`, offsetsMemberBytes(records), look)]);
    const builder = offsetsBuilder(session);
    const recordsOffset = end + offsetsHeadBytes;
    put([builder.head]);
    offsets.flush();
    using spooled = openFile(part.directory, offsetsPart);
    if (spooled === undefined) throw new InternalError("a session without offsets");
    for (let at = 0; at < spooled.length; at += copyBytes) {
      const stretch = readStretch(spooled, at, Math.min(copyBytes, spooled.length - at));
      builder.add(stretch);
      put([stretch]);
    }
    const manifestGeneration = session.generation;
    put([builder.finish({ recordsOffset, records, manifest, header, list, manifestGeneration })]);
    put([new Uint8Array(tarTrailerBytes)]);
  };
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    closeSync(tar);
    offsets[Symbol.dispose]();
    part[Symbol.dispose]();
  };

  return {
    get written() {
      return part.written;
    },
    writeChunk: (address, stored, checksum) => {
      const { group, file } = chunkPath(address);
      const header = template.fill(`${session.name}/${group}/${file}`, stored.length);
      encodeOffsetRecord(record, 0, { address, offset: end + tarBlockBytes });
      put([header, stored, zeros.subarray(0, tarPadding(stored.length))]);
      offsets.append(record);
      part.add(address, stored, checksum);
    },
    createMeta: part.createMeta,
    checkpoint: async () => {
      await offsets.sync();
      await part.list.sync();
      await syncData(tar);
      return true;
    },
    endList: part.endList,
    publish: async () => {
      await finish();
      await syncData(tar);
      publishFile(part.directory, tarPart, volume, finishedName);
      close();
      await removeTree(volume, partName);
      syncDirectory(volume);
    },
    [Symbol.dispose]: close,
  };
}
