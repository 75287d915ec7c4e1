// From what a person types or keeps in a file to the master key: a passphrase that has a slot, or the recovery form.

import { type ArchiveHeader, archiveHeaderMacInput } from "../archive/archive-header.ts";
import { archiveKeys, macFits } from "./keys.ts";
import { fromRecoveryForm, looksLikeRecoveryForm } from "./recovery.ts";
import { openSlot } from "./slot.ts";

/**
 * The master key of the archive with this header, which is authentic when this gives a key. undefined: the secret is not
 * one of this archive's. Throws FormatError: `bad-mac` for a slot that was altered; for a mistyped recovery form what
 * fromRecoveryForm throws, but only when it is no passphrase either: a passphrase may look like a form.
 */
export function masterFromSecret(untrusted: ArchiveHeader, secret: string): Uint8Array | undefined {
  let mistyped: unknown;
  if (looksLikeRecoveryForm(secret)) {
    try {
      const master = fromRecoveryForm(secret);
      if (isMasterOf(untrusted, master)) return master;
    } catch (error) {
      mistyped = error;
    }
  }
  for (const slot of untrusted.slots) {
    const master = openSlot(slot, secret, untrusted.uuid);
    if (master !== undefined && isMasterOf(untrusted, master)) return master;
  }
  if (mistyped !== undefined) throw mistyped;
  return undefined;
}

/** True where the header was made with this key. */
export function isMasterOf(untrusted: ArchiveHeader, master: Uint8Array): boolean {
  const { header } = archiveKeys(master, untrusted.uuid);
  return macFits(header, archiveHeaderMacInput(untrusted), untrusted.mac);
}
