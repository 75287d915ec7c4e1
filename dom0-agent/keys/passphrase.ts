// Where passphrases come from: a terminal, or a file. Never an argument, the environment or the settings (design
// section 8).

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { looksLikeRecoveryForm } from "../../protocol/seal/recovery.ts";
import { AgentError } from "../errors.ts";

/** Bytes of the longest file that holds a passphrase. */
const maxBytes = 4096;
const minCharacters = 8;

/**
 * The passphrase in a file, without the line end behind it: its first line is all there may be, but for a recovery form,
 * which may have been broken. `/dev/fd/N` reads a descriptor. `warn` hears of a file that others can read.
 */
export function passphraseFrom(path: string, warn: (message: string) => void): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (error) {
    throw new AgentError("usage", `read passphrase: ${path}: ${(error as Error).message}`);
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() && (stat.mode & 0o077) !== 0)
      warn(
        `${path}: others on this system can read the passphrase (mode ${(stat.mode & 0o777).toString(8)})`,
      );
    const bytes = new Uint8Array(maxBytes + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got)
      got = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > maxBytes)
      throw new AgentError("usage", `read passphrase: ${path}: more than ${maxBytes} bytes`);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
    return text.replace(/\r?\n$/, "");
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw new AgentError("usage", `read passphrase: ${path}: ${(error as Error).message}`);
  } finally {
    closeSync(fd);
  }
}

/** Throws AgentError `usage` for a new passphrase that is none. */
export function checkNewPassphrase(passphrase: string): void {
  if (passphrase.length < minCharacters)
    throw new AgentError("usage", `new passphrase: wanted at least ${minCharacters} characters`);
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  if (/[\u0000-\u001f\u007f]/u.test(passphrase))
    throw new AgentError("usage", "new passphrase: found a control character or a second line");
  if (looksLikeRecoveryForm(passphrase))
    throw new AgentError(
      "usage",
      "new passphrase: found what looks like a recovery form, wanted something that can't be mistaken for one",
      "add a word, or a character that is neither letter nor digit",
    );
}
