// The read key of a volume: what opens its metadata and its group's chunks, and nothing else of the archive (design
// section 8; docs/keys.md). 125 bytes, or the same as text: five lines of base 32.
//
//   "SPBKRKEY" | version u16 | archive 16 | volume 16 | K_meta 32 | group 16 | K_group 32 | check 3

import { createHash } from "node:crypto";
import {
  type ArchiveUuid,
  archiveUuid,
  type GroupId,
  groupId,
  type VolumeId,
  volumeId,
} from "../archive/types.ts";
import { concatBytes, equalBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { type Codec, decode, encode, fixedBytes, only, struct, u16 } from "../wire/codec.ts";
import { utf8 } from "../wire/writer.ts";
import { fromBase32, grouped, toBase32 } from "./base32.ts";
import { groupKey, keyBytes, volumeKey } from "./keys.ts";

export interface ReadKey {
  readonly archive: ArchiveUuid;
  readonly volume: VolumeId;
  readonly metaKey: Uint8Array;
  readonly group: GroupId;
  readonly groupKey: Uint8Array;
}

const magic = utf8("SPBKRKEY");
const checkBytes = 3;
const fields: Codec<ReadKey> = struct<ReadKey>({
  archive: archiveUuid,
  volume: volumeId,
  metaKey: fixedBytes(keyBytes),
  group: groupId,
  groupKey: fixedBytes(keyBytes),
});
const version = only(u16, (n) => n === 1, "version 1");

/** Bytes of a read key, and characters of its text at most, line ends and blanks included. */
export const readKeyBytes: number = magic.length + 2 + 16 + 16 + keyBytes + 16 + keyBytes + checkBytes;
export const maxReadKeyText = 4096;

/** The read key of a volume, from the master key. */
export function readKeyOf(
  master: Uint8Array,
  { archive, volume, group }: Pick<ReadKey, "archive" | "volume" | "group">,
): ReadKey {
  return {
    archive,
    volume,
    metaKey: volumeKey(master, archive, volume),
    group,
    groupKey: groupKey(master, archive, group),
  };
}

/** The key's bytes. */
export function encodeReadKey(key: ReadKey): Uint8Array {
  const whole = concatBytes([magic, encode(version, 1), encode(fields, key)]);
  return concatBytes([whole, checkOf(whole)]);
}

/** The same as text: five lines. */
export function readKeyText(key: ReadKey): string {
  return grouped(toBase32(encodeReadKey(key)), 10);
}

/** Reads a key, as bytes or as text; throws FormatError: `bad-magic`, `truncated`, `bad-version`, `bad-digest`. */
export function decodeReadKey(untrusted: Uint8Array): ReadKey {
  const bytes = startsWithMagic(untrusted) ? untrusted : fromText(untrusted);
  if (bytes === undefined || !startsWithMagic(bytes))
    throw new FormatError("bad-magic", "read key: no read key");
  if (bytes.length !== readKeyBytes)
    throw new FormatError("truncated", `read key: ${bytes.length} bytes, wanted ${readKeyBytes}`);
  const split = bytes.length - checkBytes;
  const body = bytes.subarray(0, split);
  if (!equalBytes(bytes.subarray(split), checkOf(body)))
    throw new FormatError("bad-digest", "read key: a character is wrong: its check does not fit");
  const found = decode(u16, body.subarray(magic.length, magic.length + 2), "read key");
  if (found !== 1) throw new FormatError("bad-version", `read key: version ${found}, wanted 1`);
  return decode(fields, body.subarray(magic.length + 2), "read key");
}

function fromText(untrusted: Uint8Array): Uint8Array | undefined {
  if (untrusted.length > maxReadKeyText) return undefined;
  return fromBase32(Buffer.from(untrusted).toString("latin1"));
}

function startsWithMagic(bytes: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, magic.length), magic);
}

function checkOf(body: Uint8Array): Uint8Array {
  return createHash("sha256").update(body).digest().subarray(0, checkBytes);
}
