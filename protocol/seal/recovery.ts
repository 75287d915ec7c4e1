// The recovery form: the master key on paper (docs/keys.md). 32 bytes and a check of 3, in base 32: 56 characters in
// 14 groups of four. Whoever has it has the archive.

import { createHash } from "node:crypto";
import { concatBytes, equalBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";
import { bareBase32, fromBase32, grouped, toBase32 } from "./base32.ts";
import { keyBytes } from "./keys.ts";

const checkBytes = 3;
const characters = ((keyBytes + checkBytes) * 8) / 5;
const groups = characters / 4;

function checkOf(master: Uint8Array): Uint8Array {
  const hash = createHash("sha256").update("sparsebak recovery form v1").update(master).digest();
  return hash.subarray(0, checkBytes);
}

/** The form, in one line of 69 characters: what asks for it takes one. */
export function recoveryForm(master: Uint8Array): string {
  return grouped(toBase32(concatBytes([master, checkOf(master)])), groups);
}

/** True for text that can be meant as a recovery form, right or mistyped. */
export function looksLikeRecoveryForm(text: string): boolean {
  const found = text.trim().split(/[\s-]+/);
  return (
    bareBase32(text).length === characters && found.length >= groups / 2 && /^[0-9A-Za-z\s-]+$/.test(text)
  );
}

/** The master key that `text`, which looks like a recovery form, spells; throws FormatError `bad-digest` where it was
 *  mistyped. */
export function fromRecoveryForm(text: string): Uint8Array {
  const bytes = fromBase32(text);
  if (bytes?.length !== keyBytes + checkBytes)
    throw new FormatError("bad-digest", "read recovery form: a character is wrong: there is no U in it");
  const master = bytes.slice(0, keyBytes);
  if (!equalBytes(bytes.subarray(keyBytes), checkOf(master)))
    throw new FormatError("bad-digest", "read recovery form: a character is wrong: its check does not fit");
  return master;
}
