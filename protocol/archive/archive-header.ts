// `archive`: what the archive is. Written once; a copy lies in every volume's directory (design section 7).

import {
  type Codec,
  bool,
  decode,
  encode,
  fixedBytes,
  list,
  oneOf,
  only,
  struct,
  u8,
} from "../wire/codec.ts";
import { concatBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { decodeFile, encodeFile, noVolume, type FilePrefix, plainPrefix } from "./prefix.ts";
import { type ArchiveUuid, type Generation, chunkSizeField, type Mac, time } from "./types.ts";

/** The master key, wrapped under a passphrase. Fixed size; docs/archive-format.md, "Key slots". */
export interface KeySlot {
  /** log2 of scrypt's N, and its r and p. */
  readonly logN: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Uint8Array;
  readonly nonce: Uint8Array;
  /** 32 bytes of key and 16 of tag. */
  readonly wrapped: Uint8Array;
  /** Commits to the key, so that one slot can't open to two keys. */
  readonly commitment: Uint8Array;
}

export interface ArchiveHeader {
  readonly uuid: ArchiveUuid;
  /** Bytes, a power of two from 64 KiB to 4 MiB. */
  readonly chunkSize: number;
  readonly compression: "zstd";
  /** zstd's level, 1 to 19. */
  readonly level: number;
  readonly sealed: boolean;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** What chunk ids are derived from where the archive is not sealed: public. Zeros where it is. */
  readonly idSeed: Uint8Array;
  readonly slots: readonly KeySlot[];
  /** HMAC of all before it under dom0's metadata key. Only dom0 can check it. */
  readonly mac: Mac;
}

export const maxKeySlots = 8;
const macBytes = 32;

const keySlot: Codec<KeySlot> = struct<KeySlot>({
  // Readers refuse absurd costs: at most 1 GiB of scrypt memory (128·r·N), once over.
  logN: only(u8, (n) => n >= 10 && n <= 20, "10 to 20"),
  r: only(u8, (n) => n === 8, "8"),
  p: only(u8, (n) => n === 1, "1"),
  salt: fixedBytes(16),
  nonce: fixedBytes(12),
  wrapped: fixedBytes(48),
  commitment: fixedBytes(32),
});

type Body = Omit<ArchiveHeader, "uuid" | "mac">;
const body: Codec<Body> = struct<Body>({
  chunkSize: chunkSizeField,
  compression: oneOf({ zstd: 1 }),
  level: only(u8, (n) => n >= 1 && n <= 19, "1 to 19"),
  sealed: bool,
  createdAt: time,
  idSeed: fixedBytes(32),
  slots: list(keySlot, maxKeySlots),
});

const prefixFor = (uuid: ArchiveUuid): FilePrefix => plainPrefix("archive", uuid, noVolume, 0 as Generation);

/** What `mac` is made over: the bytes of the body. The archive's uuid belongs to the key. */
export function archiveHeaderMacInput(header: Omit<ArchiveHeader, "mac">): Uint8Array {
  return encode(body, header);
}

/** The bytes of `archive`. */
export function encodeArchiveHeader(header: ArchiveHeader): Uint8Array {
  checkSeed(header);
  return encodeFile(prefixFor(header.uuid), concatBytes([encode(body, header), header.mac]));
}

/** Reads `archive`; throws FormatError. The MAC is not checked here. */
export function decodeArchiveHeader(untrusted: Uint8Array): ArchiveHeader {
  const file = decodeFile(untrusted, { kind: "archive", volume: noVolume, generation: 0 as Generation });
  const split = file.body.length - macBytes;
  if (split < 0) throw new FormatError("truncated", "read archive: too short");
  const fields = decode(body, file.body.subarray(0, split), "archive");
  const header = { ...fields, uuid: file.prefix.archive, mac: file.body.slice(split) as Mac };
  checkSeed(header);
  return header;
}

function checkSeed(header: ArchiveHeader): void {
  const hasSeed = header.idSeed.some((byte) => byte !== 0);
  if (hasSeed === header.sealed) {
    throw new FormatError(
      "bad-value",
      "read archive: a public id seed belongs to archives that are not sealed, only",
    );
  }
}
