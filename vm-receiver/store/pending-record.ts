// `pending`: says of a session that is being written whose it is, so that a later run can find, continue or discard it.
// Only receivers read it; it goes when the session is finished.
//
//   "SPBKPEND" | version u16 = 1 | form u8: 1 directory, 2 tar | archive 16 | volume 16 | session 16 | generation u64
//   | name u16 + 17 | chunk size u32 | volume size u64 | SHA-256 of all before

import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import { sessionName } from "../../protocol/archive/names.ts";
import { sha256 } from "../../protocol/archive/prefix.ts";
import {
  archiveUuid,
  digestBytes,
  generation,
  chunkSizeField,
  sessionUid,
  volumeId,
  volumeSize,
} from "../../protocol/archive/types.ts";
import {
  type Codec,
  decode,
  encode,
  fixedBytes,
  oneOf,
  only,
  struct,
  u16,
} from "../../protocol/wire/codec.ts";
import { utf8 } from "../../protocol/wire/writer.ts";
import type { Form, NewSession } from "./store.ts";

export interface PendingRecord extends NewSession {
  readonly form: Form;
}

/** The file's name in the directory of a session that is being written. */
export const pendingFile = "pending";
export const maxPendingBytes = 256;

const magic = utf8("SPBKPEND");
type Layout = PendingRecord & { readonly magic: Uint8Array; readonly version: number };
const layout: Codec<Layout> = struct<Layout>({
  magic: only(fixedBytes(magic.length), (found) => equalBytes(found, magic), "SPBKPEND"),
  version: only(u16, (n) => n === 1, "1"),
  form: oneOf({ dir: 1, tar: 2 }),
  archive: archiveUuid,
  volume: volumeId,
  session: sessionUid,
  generation,
  name: sessionName,
  chunkSize: chunkSizeField,
  size: volumeSize,
});

/** The file's bytes. */
export function encodePending(record: PendingRecord): Uint8Array {
  const body = encode(layout, { ...record, magic, version: 1 });
  const whole = new Uint8Array(body.length + digestBytes);
  whole.set(body);
  whole.set(sha256(body), body.length);
  return whole;
}

/** Reads the file; throws FormatError. */
export function decodePending(untrusted: Uint8Array): PendingRecord {
  const end = untrusted.length - digestBytes;
  if (end < 0) throw new FormatError("truncated", "read pending: too short");
  const body = untrusted.subarray(0, end);
  if (!equalBytes(sha256(body), untrusted.subarray(end))) {
    throw new FormatError("bad-digest", "read pending: its digest does not fit its bytes");
  }
  const { magic: _magic, version: _version, ...record } = decode(layout, body, "pending");
  return record;
}
