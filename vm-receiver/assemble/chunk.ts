// Opening one stored chunk, in the only order that is safe (design section 8): its checksum, then its seal, then zstd
// with a bounded window and output, then its length, then its id.

import { createHash } from "node:crypto";
import { constants, zstdDecompressSync } from "node:zlib";
import { equalBytes } from "../../protocol/bytes.ts";
import { chunkIdOf } from "../../protocol/archive/chunk-id.ts";
import { FormatError } from "../../protocol/errors.ts";

/** What the manifest says of a chunk. */
export interface ExpectedChunk {
  readonly id: Uint8Array;
  /** SHA-256 of the stored form. */
  readonly checksum: Uint8Array;
  /** Bytes of the plaintext. */
  readonly length: number;
}

/** log2 of the largest zstd window: 8 MiB, what zstd's highest level takes when it was not told a size. */
const windowLog = 23;
/** Room behind the plaintext in zstd's output buffer, so that it sees the end of the frame without a second one. */
const slack = 1024;

/** Opens the seal of a chunk: its zstd frame, or a FormatError. */
export interface SealOpener {
  open(untrusted: Uint8Array, id: Uint8Array): Uint8Array;
}

/**
 * The plaintext of a chunk. Throws FormatError: `bad-digest` where checksum or id does not fit, `bad-mac` where it was
 * not sealed with the group's key under that id, `bad-value` where there is no zstd frame of the right length.
 */
export function openChunk(
  untrusted: Uint8Array,
  expected: ExpectedChunk,
  idKey: Uint8Array,
  seal?: SealOpener,
): Uint8Array {
  if (!equalBytes(createHash("sha256").update(untrusted).digest(), expected.checksum)) {
    throw new FormatError("bad-digest", "its bytes do not have the checksum that the manifest names");
  }
  const frame = seal === undefined ? untrusted : seal.open(untrusted, expected.id);
  const plaintext = decompress(frame, expected.length);
  if (plaintext.length !== expected.length) {
    throw new FormatError(
      "bad-value",
      `it decompresses to ${plaintext.length} bytes, wanted ${expected.length}`,
    );
  }
  if (!equalBytes(chunkIdOf(idKey, plaintext), expected.id)) {
    throw new FormatError("bad-digest", "its plaintext does not have the id that the manifest names");
  }
  return plaintext;
}

/** Frees the buffer of a plaintext from openChunk at once; the garbage collector would let a hundred megabytes of them
 *  gather first. Buffers that Node shares among several are left alone. */
export function freePlaintext(plaintext: Uint8Array): void {
  const { buffer } = plaintext;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === plaintext.length + slack) buffer.transfer(0);
}

interface WithInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

function decompress(stored: Uint8Array, length: number): Uint8Array {
  let result: WithInfo;
  try {
    result = zstdDecompressSync(stored, {
      info: true,
      maxOutputLength: length,
      chunkSize: length + slack,
      params: { [constants.ZSTD_d_windowLogMax]: windowLog },
    }) as unknown as WithInfo;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError("bad-value", `zstd can't decompress it to ${length} bytes: ${reason}`);
  }
  if (result.engine.bytesWritten !== stored.length) {
    throw new FormatError(
      "trailing",
      `zstd used ${result.engine.bytesWritten} of its ${stored.length} bytes`,
    );
  }
  return result.buffer;
}
