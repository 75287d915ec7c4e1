// dom0's keys, all from one master key (design section 8; docs/archive-format.md, "Keys"). The backup VM never has any
// of them, but for the read key of a volume that its user has exported.

import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import {
  type ArchiveUuid,
  type Digest,
  type Generation,
  generation,
  type GroupId,
  type Mac,
  type VolumeId,
} from "../archive/types.ts";
import { concatBytes } from "../bytes.ts";
import { utf8 } from "../wire/writer.ts";
import { encode } from "../wire/codec.ts";

/** The keys that authenticate an archive's metadata. */
export interface ArchiveKeys {
  readonly header: Uint8Array;
  readonly head: Uint8Array;
  readonly log: Uint8Array;
}

/** Bytes of the master key, and of every key that is derived from it. */
export const keyBytes = 32;

/** HKDF-SHA-256 of `key`, salt = the archive's uuid, info = the parts one after another, 32 bytes. */
export function deriveKey(
  key: Uint8Array,
  archive: ArchiveUuid,
  ...info: readonly (string | Uint8Array)[]
): Uint8Array {
  const parts = info.map((each) => (typeof each === "string" ? utf8(each) : each));
  return new Uint8Array(hkdfSync("sha256", key, archive, concatBytes(parts), keyBytes));
}

/** The keys of the metadata that is authenticated and not sealed. */
export function archiveKeys(master: Uint8Array, archive: ArchiveUuid): ArchiveKeys {
  return {
    header: deriveKey(master, archive, "sparsebak archive header v1"),
    head: deriveKey(master, archive, "sparsebak head v1"),
    log: deriveKey(master, archive, "sparsebak log v1"),
  };
}

/** K_meta: from it come the keys of one volume's indexes, headers and manifests. */
export function volumeKey(master: Uint8Array, archive: ArchiveUuid, volume: VolumeId): Uint8Array {
  return deriveKey(master, archive, "sparsebak volume metadata v1", volume);
}

/** K_group: from it come the keys of the chunks of a group's volumes. */
export function groupKey(master: Uint8Array, archive: ArchiveUuid, group: GroupId): Uint8Array {
  return deriveKey(master, archive, "sparsebak group v1", group);
}

/** The key that a sealed archive's chunk ids of a group are made with, from its K_group. */
export function sealedIdKey(key: Uint8Array, archive: ArchiveUuid): Uint8Array {
  return deriveKey(key, archive, "sparsebak chunk id v1");
}

/** HMAC-SHA-256 of `input`. */
export function macOf(key: Uint8Array, input: Uint8Array): Mac {
  return new Uint8Array(createHmac("sha256", key).update(input).digest()) as Mac;
}

/** True when `untrusted` is the MAC of `input`; takes the same time either way. */
export function macFits(key: Uint8Array, input: Uint8Array, untrusted: Mac): boolean {
  return timingSafeEqual(macOf(key, input), untrusted);
}

/** A generation's entry in the head's log: the first 8 bytes of HMAC(log key, generation ‖ chain). */
export function logEntry(keys: ArchiveKeys, at: Generation, chain: Digest): Uint8Array {
  return createHmac("sha256", keys.log).update(encode(generation, at)).update(chain).digest().subarray(0, 8);
}
