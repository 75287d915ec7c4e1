// Opening one stored chunk, in the only order that is safe (design section 8, "Order"; archive-format.md, F25): stored
// length, checksum, seal, then zstd (decompress.ts), plaintext length, id.
// Everything of an archive that dom0 and spbk-assemble make use of is decompressed here.

import { createHash } from "node:crypto";
import { equalBytes, freeBytes } from "../bytes.ts";
import { chunkIdOf } from "../archive/chunk-id.ts";
import { decompress, slackBytes } from "../archive/decompress.ts";
import { FormatError } from "../errors.ts";
import type { ChunkOpener } from "./chunk-seal.ts";

/** What the verified manifest says of a chunk. */
export interface ExpectedChunk {
  readonly id: Uint8Array;
  /** SHA-256 of the stored form. */
  readonly checksum: Uint8Array;
  /** Bytes of the stored form, and of the plaintext. */
  readonly storedLength: number;
  readonly length: number;
}

/**
 * The plaintext of a stored chunk. Throws FormatError: `bad-value` for another length, or where the stored form is no
 * zstd frame of the right length, `trailing` where something is left behind the frame, `bad-digest` where checksum or
 * id does not fit, `bad-mac` where it was not sealed with the group's key under that id. `seal` belongs to a sealed
 * archive.
 */
export function openChunk(
  untrusted: Uint8Array,
  expected: ExpectedChunk,
  idKey: Uint8Array,
  seal: ChunkOpener | undefined,
): Uint8Array {
  if (untrusted.length !== expected.storedLength) {
    throw new FormatError(
      "bad-value",
      `${untrusted.length} stored bytes, wanted ${expected.storedLength} as its manifest says`,
    );
  }
  if (!equalBytes(createHash("sha256").update(untrusted).digest(), expected.checksum)) {
    throw new FormatError("bad-digest", "its bytes do not have the checksum that its manifest names");
  }
  const frame = seal === undefined ? untrusted : seal.open(untrusted, expected.id);
  const plaintext = decompress(frame, expected.length);
  if (seal !== undefined) freeBytes(frame);
  if (plaintext.length !== expected.length) {
    throw new FormatError(
      "bad-value",
      `it decompresses to ${plaintext.length} bytes, wanted ${expected.length}`,
    );
  }
  if (!equalBytes(chunkIdOf(idKey, plaintext), expected.id)) {
    throw new FormatError("bad-digest", "its plaintext does not have the id that its manifest names");
  }
  return plaintext;
}

/** Frees the buffer of a plaintext from openChunk at once. */
export function freePlaintext(plaintext: Uint8Array): void {
  freeBytes(plaintext, slackBytes);
}
