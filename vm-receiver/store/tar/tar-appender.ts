// The growing end of a tar: members behind one another, and in the end those that describe the others
// (protocol/archive/tar-layout.ts).

import { writevSync } from "node:fs";
import type { ListIdentity } from "../../../protocol/archive/list-file.ts";
import { fileNames } from "../../../protocol/archive/names.ts";
import {
  type MemberPlace,
  offsetsBuilder,
  offsetsHeadBytes,
  offsetsMemberBytes,
  tarBlockBytes,
  tarPadding,
  tarTrailerBytes,
} from "../../../protocol/archive/tar-layout.ts";
import type { Generation, SessionName } from "../../../protocol/archive/types.ts";
import { InternalError } from "../../../protocol/errors.ts";
import type { Directory } from "../../directory.ts";
import { openFile, readStretch, writeAll } from "../../files.ts";
import { offsetsPart } from "../spool-names.ts";
import { memberHeader, type MemberLook } from "./member-header.ts";

const zeros = new Uint8Array(tarBlockBytes);
const copyBytes = 1024 * 1024;
const nowhere: MemberPlace = { offset: 0, length: 0 };

/** Names of the files that a session has beside its list; undefined for a container without one. */
export type SessionFiles = { readonly manifest: string; readonly header: string } | undefined;

export interface TarAppender {
  /** Bytes so far. */
  readonly end: number;
  /** Appends bytes. Throws what the system throws. */
  put(parts: readonly Uint8Array[]): void;
  /** Appends manifest, header and list out of `from`, then the offsets that are spooled there, and what ends a tar. */
  finish(from: Directory, of: ListIdentity, records: number, files: SessionFiles): Promise<void>;
}

/** Appends to the tar `fd` of the session `name`, which ends at `start`. */
export function tarAppender(fd: number, start: number, name: SessionName, look: MemberLook): TarAppender {
  let end = start;

  const put = (parts: readonly Uint8Array[]): void => {
    const written = writevSync(fd, parts, end);
    // A write that was cut short, by a full disk or a limit: go on part by part, and hear why.
    let from = 0;
    for (const each of parts) {
      const done = Math.min(Math.max(written - from, 0), each.length);
      if (done < each.length) writeAll(fd, each.subarray(done), end + from + done);
      from += each.length;
    }
    end += from;
  };

  /** Appends a file of `directory` as a member. */
  const copy = async (directory: Directory, file: string): Promise<MemberPlace> => {
    using from = openFile(directory, file);
    if (from === undefined) throw new InternalError(`a session without ${file}`);
    put([await memberHeader(`${name}/${file}`, from.length, look)]);
    const place = { offset: end, length: from.length };
    for (let at = 0; at < from.length; at += copyBytes) {
      put([readStretch(from, at, Math.min(copyBytes, from.length - at))]);
    }
    put([zeros.subarray(0, tarPadding(from.length))]);
    return place;
  };

  return {
    get end() {
      return end;
    },
    put,
    finish: async (from, of, records, files) => {
      const manifest = files === undefined ? nowhere : await copy(from, files.manifest);
      const header = files === undefined ? nowhere : await copy(from, files.header);
      const list = await copy(from, fileNames.list);
      put([await memberHeader(`${name}/${fileNames.offsets}`, offsetsMemberBytes(records), look)]);
      const builder = offsetsBuilder(of);
      const recordsOffset = end + offsetsHeadBytes;
      put([builder.head]);
      using spooled = openFile(from, offsetsPart);
      if (spooled === undefined) throw new InternalError("a session without offsets");
      for (let at = 0; at < spooled.length; at += copyBytes) {
        const stretch = readStretch(spooled, at, Math.min(copyBytes, spooled.length - at));
        builder.add(stretch);
        put([stretch]);
      }
      const manifestGeneration = files === undefined ? (0 as Generation) : of.generation;
      put([builder.finish({ recordsOffset, records, manifest, header, list, manifestGeneration })]);
      put([new Uint8Array(tarTrailerBytes)]);
    },
  };
}
