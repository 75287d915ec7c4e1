// From what a person types or keeps in a file to the master key: a passphrase that has a slot, or the recovery form.

import { type ArchiveHeader, archiveHeaderMacInput } from "../archive/archive-header.ts";
import { archiveKeys, macFits } from "./keys.ts";
import { fromRecoveryForm, looksLikeRecoveryForm } from "./recovery.ts";
import { openSlot } from "./slot.ts";

/**
 * The master key of the archive with this header, which is authentic when this gives a key. undefined: the secret is not
 * one of this archive's. Throws FormatError: `bad-digest` for a mistyped recovery form, `bad-mac` for a slot that was
 * altered.
 */
export function masterFromSecret(untrusted: ArchiveHeader, secret: string): Uint8Array | undefined {
  const candidates = looksLikeRecoveryForm(secret)
    ? [fromRecoveryForm(secret)]
    : untrusted.slots.map((slot) => openSlot(slot, secret, untrusted.uuid));
  return candidates.find((master) => master !== undefined && isMasterOf(untrusted, master));
}

/** True where the header was made with this key. */
export function isMasterOf(untrusted: ArchiveHeader, master: Uint8Array): boolean {
  const { header } = archiveKeys(master, untrusted.uuid);
  return macFits(header, archiveHeaderMacInput(untrusted), untrusted.mac);
}
