// A file that comes in parts: length and digest are announced, and what arrives must be exactly that. Every file of the
// archive ends with the SHA-256 of all before it, so the digest is made on the way.

import { createHash } from "node:crypto";
import { prefixBytes } from "../../protocol/archive/prefix.ts";
import { digestBytes } from "../../protocol/archive/types.ts";
import { equalBytes } from "../../protocol/bytes.ts";
import { FormatError } from "../../protocol/errors.ts";
import type { Put } from "../../protocol/wire/messages.ts";
import { writeAll } from "../files.ts";
import type { Room } from "../room.ts";

export interface Upload {
  readonly announced: Put;
  /** Takes the next part. FormatError `too-long` for more than was announced; RefusalError `no-space`,
   *  `no-inodes`; what the system throws on writing. */
  take(untrusted: Uint8Array): void;
  /** Bytes that are still to come. */
  readonly left: number;
  readonly complete: boolean;
  /** Throws FormatError `bad-digest` where what came is not what was announced. */
  check(): void;
}

/** Writes what comes to `fd`, as far as there is room, and follows its digest. Throws FormatError where the length can't be
 *  that of a file. */
export function startUpload(announced: Put, fd: number, largest: number, room?: Room): Upload {
  const { length } = announced;
  if (length < prefixBytes + digestBytes || length > largest) {
    throw new FormatError(
      "too-long",
      `put ${announced.name.kind}: ${length} bytes, wanted at most ${largest}`,
    );
  }
  const hash = createHash("sha256");
  const tail = new Uint8Array(digestBytes);
  const hashed = length - digestBytes;
  let seen = 0;
  return {
    announced,
    take: (untrusted) => {
      if (untrusted.length > length - seen) {
        throw new FormatError(
          "too-long",
          `put ${announced.name.kind}: more than the ${length} bytes announced`,
        );
      }
      room?.take(untrusted.length);
      writeAll(fd, untrusted);
      const split = Math.min(untrusted.length, Math.max(0, hashed - seen));
      if (split > 0) hash.update(untrusted.subarray(0, split));
      if (split < untrusted.length) tail.set(untrusted.subarray(split), seen + split - hashed);
      seen += untrusted.length;
    },
    get left() {
      return length - seen;
    },
    get complete() {
      return seen === length;
    },
    check: () => {
      if (equalBytes(hash.digest(), tail) && equalBytes(tail, announced.digest)) return;
      throw new FormatError("bad-digest", `put ${announced.name.kind}: what came is not what was announced`);
    },
  };
}
