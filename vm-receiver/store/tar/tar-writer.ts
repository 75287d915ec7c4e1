// Writing a session as one tar (protocol/archive/tar-layout.ts): chunks as they come; list, header and manifest lie
// beside it until the end. Offsets are spooled to a file, so memory does not grow with the session.

import { closeSync, fdatasync } from "node:fs";
import { promisify } from "node:util";
import { chunkPath, fileNames, manifestFile } from "../../../protocol/archive/names.ts";
import {
  encodeOffsetRecord,
  offsetRecordBytes,
  tarBlockBytes,
  tarPadding,
} from "../../../protocol/archive/tar-layout.ts";
import { type Directory, syncDirectory } from "../../directory.ts";
import { createFile } from "../../files.ts";
import { forsakenBy, type Part, syncOrForsake } from "../part.ts";
import { publishFile } from "../publish.ts";
import { removeTree } from "../remove.ts";
import { createSpool } from "../spool.ts";
import { offsetsPart, tarPart } from "../spool-names.ts";
import type { NewSession, SessionWriter } from "../store.ts";
import type { HeaderTemplate, MemberLook } from "./member-header.ts";
import { tarAppender } from "./tar-appender.ts";

const syncData = promisify(fdatasync);
const zeros = new Uint8Array(tarBlockBytes);

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
  const tail = tarAppender(tar, 0, session.name, look);

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
      encodeOffsetRecord(record, 0, { address, offset: tail.end + tarBlockBytes });
      try {
        tail.put([header, stored, zeros.subarray(0, tarPadding(stored.length))]);
      } catch (error) {
        throw forsakenBy(error, part.directory);
      }
      offsets.append(record);
      part.add(address, stored, checksum);
    },
    createMeta: part.createMeta,
    checkpoint: async () => {
      offsets.flush();
      part.list.flush();
      await syncOrForsake(part.directory, async () => {
        await offsets.sync();
        await part.list.sync();
        await syncData(tar);
      });
      return true;
    },
    endList: part.endList,
    publish: async () => {
      offsets.flush();
      const files = { manifest: manifestFile(session.generation), header: fileNames.header };
      await tail.finish(part.directory, session, part.written.chunks, files);
      await syncOrForsake(part.directory, async () => syncData(tar));
      publishFile(part.directory, tarPart, volume, finishedName);
      close();
      await removeTree(volume, partName);
      syncDirectory(volume);
    },
    [Symbol.dispose]: close,
  };
}
