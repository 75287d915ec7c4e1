// AES-256-GCM as everything here uses it: 12 bytes of nonce, 16 of tag behind the ciphertext.

import { createCipheriv, createDecipheriv } from "node:crypto";
import { concatBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";

const algorithm = "aes-256-gcm";
export const nonceBytes = 12;
export const gcmTagBytes = 16;

/** Ciphertext and tag. A pair of key and nonce is used once. */
export function sealBytes(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: gcmTagBytes }).setAAD(associated);
  const sealed = cipher.update(plaintext);
  cipher.final();
  return concatBytes([sealed, cipher.getAuthTag()]);
}

/** The plaintext; throws FormatError `bad-mac` where it was sealed with another key, nonce or associated data, or was
 *  altered. Nothing of it is given out before the tag has been checked. `what` is for the message. */
export function openBytes(
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  untrusted: Uint8Array,
  what: string,
): Uint8Array {
  const split = untrusted.length - gcmTagBytes;
  if (split < 0) throw new FormatError("truncated", `open ${what}: ${untrusted.length} bytes hold no tag`);
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: gcmTagBytes });
  decipher.setAAD(associated).setAuthTag(untrusted.subarray(split));
  const plaintext = decipher.update(untrusted.subarray(0, split));
  try {
    decipher.final();
  } catch {
    throw new FormatError("bad-mac", `open ${what}: altered, or sealed with another key`);
  }
  return plaintext;
}
