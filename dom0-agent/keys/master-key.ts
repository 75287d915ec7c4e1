// The master key's file: 32 bytes and 8 of their SHA-256, so that rot in it is told from an archive that was altered.
// Whose it is and who may read it is checked on the open file (design section 8).

import { createHash, randomBytes } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { concatBytes, equalBytes } from "../../protocol/bytes.ts";
import { keyBytes } from "../../protocol/seal/keys.ts";
import { AgentError } from "../errors.ts";
import { replaceFile } from "../state/atomic-file.ts";
import type { ArchivePaths } from "../state/layout.ts";
import { DamagedStateError } from "../state/record.ts";
import { makeDirectory } from "../state/writing.ts";

const checkBytes = 8;
const fileBytes = keyBytes + checkBytes;

/** True where there is a key file, whatever is in it. */
export function hasMasterKey(paths: ArchivePaths): boolean {
  return existsSync(paths.key);
}

/** The key that an archive is to be made with: the one that a creation which was cut short has left, or a new one. */
export function newMasterKey(paths: ArchivePaths): Uint8Array {
  if (hasMasterKey(paths)) return readMasterKey(paths);
  const key = new Uint8Array(randomBytes(keyBytes));
  writeMasterKey(paths, key);
  return key;
}

/** Writes the key down, for this user alone. */
export function writeMasterKey(paths: ArchivePaths, key: Uint8Array): void {
  makeDirectory(paths.directory);
  replaceFile(paths.key, [concatBytes([key, checkOf(key)])]);
}

/** The master key. Throws DamagedStateError where its file is damaged, AgentError where it is not there or open to others. */
export function readMasterKey(paths: ArchivePaths): Uint8Array {
  let fd: number;
  try {
    fd = openSync(paths.key, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    throw new AgentError("failed", `read key: ${paths.key}: ${(error as Error).message}`, lostKeyHint);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || (stat.mode & 0o077) !== 0 || stat.uid !== process.geteuid?.()) {
      const mode = (stat.mode & 0o7777).toString(8);
      throw new AgentError(
        "failed",
        `read key: ${paths.key}: found mode ${mode}, owner ${stat.uid}, wanted 600 and ours`,
      );
    }
    const raw = new Uint8Array(fileBytes + 1);
    const length = readSync(fd, raw, 0, raw.length, 0);
    const key = raw.subarray(0, keyBytes);
    if (length !== fileBytes || !equalBytes(raw.subarray(keyBytes, fileBytes), checkOf(key)))
      throw new DamagedStateError(paths.key, "it does not hold a key", lostKeyHint);
    return key;
  } finally {
    closeSync(fd);
  }
}

/** What to do where the key is gone. */
export const lostKeyHint: string =
  "sparsebak init --join puts it back, with a passphrase or the recovery form of the key";

function checkOf(key: Uint8Array): Uint8Array {
  return createHash("sha256").update("sparsebak key file v1").update(key).digest().subarray(0, checkBytes);
}
