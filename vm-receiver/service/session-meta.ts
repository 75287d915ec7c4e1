// What a session's header and manifest must say, as far as it can be read without a key: they belong to this session of
// this volume, and to no other.

import { decodeManifestHead, maxManifestHeadBytes } from "../../protocol/archive/manifest.ts";
import { decodePrefix, expectPrefix, prefixBytes } from "../../protocol/archive/prefix.ts";
import { decodeSessionHeader, maxSessionHeaderBytes } from "../../protocol/archive/session-header.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { readStretch, type StoredFile } from "../files.ts";
import type { NewSession } from "../store/store.ts";

/** Throws FormatError where the file is not this session's. */
export function checkSessionFile(kind: "header" | "manifest", file: StoredFile, session: NewSession): void {
  const { archive, volume, generation } = session;
  const prefix = decodePrefix(readStretch(file, 0, Math.min(prefixBytes, file.length)));
  expectPrefix(prefix, { kind, archive, volume, generation });
  if (prefix.protection === "sealed") return;
  const wrong = (what: string): never => {
    throw new FormatError("bad-value", `put ${kind}: its ${what} is not that of the session`);
  };
  if (kind === "header") {
    if (file.length > maxSessionHeaderBytes)
      throw new FormatError("too-long", `put header: ${file.length} bytes`);
    const header = decodeSessionHeader(readStretch(file, 0, file.length), { archive, volume });
    if (!equalBytes(header.uid, session.session)) wrong("uid");
    if (header.name !== session.name) wrong("name");
    if (header.size !== session.size || header.chunkSize !== session.chunkSize) wrong("size");
    return;
  }
  const head = decodeManifestHead(
    readStretch(file, 0, Math.min(maxManifestHeadBytes, file.length)),
    file.length,
    {
      archive,
      volume,
      generation,
    },
  );
  if (!equalBytes(head.session, session.session)) wrong("uid");
  if (head.size !== session.size || head.chunkSize !== session.chunkSize) wrong("size");
}
