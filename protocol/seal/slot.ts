// Key slots: the master key under passphrases (docs/archive-format.md, F12). scrypt gives 64 bytes: the first 32 wrap
// the master key, the last 32 are committed to, so that no slot opens to two keys under two passphrases.

import { createHash, randomBytes, scryptSync, timingSafeEqual } from "node:crypto";
import type { KeySlot } from "../archive/archive-header.ts";
import type { ArchiveUuid } from "../archive/types.ts";
import { utf8 } from "../wire/writer.ts";
import { nonceBytes, openBytes, sealBytes } from "./gcm.ts";

/** Cost of a slot: 512 MiB and a second or two. */
export const slotCost = { logN: 19, r: 8, p: 1 } as const;

/** What a slot is made from; `salt` and `nonce` are given for vectors only, `logN` also by tests that are in a hurry. */
export interface SlotOptions {
  readonly logN?: number;
  readonly salt?: Uint8Array;
  readonly nonce?: Uint8Array;
}

/** A slot from which `passphrase` gives `master`. */
export function makeSlot(
  master: Uint8Array,
  passphrase: string,
  archive: ArchiveUuid,
  options: SlotOptions = {},
): KeySlot {
  const cost = { ...slotCost, logN: options.logN ?? slotCost.logN };
  const salt = options.salt ?? new Uint8Array(randomBytes(16));
  const nonce = options.nonce ?? new Uint8Array(randomBytes(nonceBytes));
  const { wrapKey, commitment } = stretch(passphrase, { ...cost, salt }, archive);
  return { ...cost, salt, nonce, wrapped: sealBytes(wrapKey, nonce, archive, master), commitment };
}

/** The master key in the slot; undefined where the passphrase is another one's. Throws FormatError `bad-mac` where the
 *  passphrase is the slot's and what it wraps was altered. The costs are bounded by the header's decoder. */
export function openSlot(
  untrusted: KeySlot,
  passphrase: string,
  archive: ArchiveUuid,
): Uint8Array | undefined {
  const { wrapKey, commitment } = stretch(passphrase, untrusted, archive);
  if (!timingSafeEqual(commitment, untrusted.commitment)) return undefined;
  return new Uint8Array(openBytes(wrapKey, untrusted.nonce, archive, untrusted.wrapped, "key slot"));
}

function stretch(
  passphrase: string,
  { logN, r, p, salt }: Pick<KeySlot, "logN" | "r" | "p" | "salt">,
  archive: ArchiveUuid,
): { readonly wrapKey: Uint8Array; readonly commitment: Uint8Array } {
  // The same text has the same bytes whatever keyboard it comes from.
  const bytes = utf8(passphrase.normalize("NFC"));
  const maxmem = 128 * r * (2 ** logN + p + 2);
  const out = scryptSync(bytes, salt, 64, { N: 2 ** logN, r, p, maxmem });
  const hash = createHash("sha256").update("sparsebak slot commitment v1").update(archive);
  return { wrapKey: out.subarray(0, 32), commitment: hash.update(out.subarray(32)).digest() };
}
