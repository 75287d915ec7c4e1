// dom0's keys, all from one master key (design section 8). The backup VM never has any of them.

import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { type ArchiveUuid, type Digest, type Generation, generation, type Mac } from "../archive/types.ts";
import { encode } from "../wire/codec.ts";

/** The keys that authenticate an archive's metadata. */
export interface ArchiveKeys {
  readonly header: Uint8Array;
  readonly head: Uint8Array;
  readonly log: Uint8Array;
}

/** HKDF-SHA-256 of the 32-byte master key, salt = archive uuid, a label for each use. */
export function archiveKeys(master: Uint8Array, archive: ArchiveUuid): ArchiveKeys {
  const derive = (label: string): Uint8Array =>
    new Uint8Array(hkdfSync("sha256", master, archive, label, 32));
  return {
    header: derive("sparsebak archive header v1"),
    head: derive("sparsebak head v1"),
    log: derive("sparsebak log v1"),
  };
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
