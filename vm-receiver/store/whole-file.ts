// Whether a file of the archive is whole, and the one that is meant: read from the file system, never from memory.

import { createHash } from "node:crypto";
import { read } from "node:fs";
import { promisify } from "node:util";
import { type Digest, digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { readStretch, type StoredFile } from "../files.ts";

const readAt = promisify(read);
const stretchBytes = 256 * 1024;
/** The buffer of the file before, for the next: a commit may look at thousands of them. */
let spare: Uint8Array | undefined;

/** `damaged`: its last 32 bytes are not the SHA-256 of all before; `other`: they are, and not what is wanted. */
export async function stateOfFile(
  file: StoredFile,
  wanted: Digest,
  onBytes: (bytes: number) => void = () => {},
): Promise<"whole" | "damaged" | "other"> {
  const end = file.length - digestBytes;
  if (end < 0) return "damaged";
  const hash = createHash("sha256");
  const buffer = spare ?? new Uint8Array(stretchBytes);
  spare = undefined;
  try {
    for (let at = 0; at < end;) {
      const wantedBytes = Math.min(buffer.length, end - at);
      const { bytesRead } = await readAt(file.fd, buffer, 0, wantedBytes, file.offset + at);
      if (bytesRead === 0) return "damaged";
      hash.update(buffer.subarray(0, bytesRead));
      onBytes(bytesRead);
      at += bytesRead;
    }
  } finally {
    spare = buffer;
  }
  const found = readStretch(file, end, digestBytes);
  if (!equalBytes(hash.digest(), found)) return "damaged";
  return equalBytes(found, wanted) ? "whole" : "other";
}
