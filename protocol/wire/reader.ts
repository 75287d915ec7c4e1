// Takes values off untrusted bytes: every read is checked against what is left, so that no length from outside is
// believed before the bytes are there.

import { plainBytes } from "../bytes.ts";
import { FormatError } from "../errors.ts";

const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface ByteReader {
  u8(): number;
  u16(): number;
  u32(): number;
  /** Eight bytes as an integer; above 2^53−1 is `bad-value`. */
  u64(): number;
  /** A view of the next `count` bytes; it lives as long as the array that is read. */
  bytes(count: number): Uint8Array;
  /** `count` bytes as strict UTF-8. */
  text(count: number): string;
  /** How many bytes are left. */
  left(): number;
  /** Throws `trailing` when anything is left. */
  end(): void;
}

/** A reader of `untrusted` from its first byte; `what` names the structure in messages. */
export function byteReader(untrusted: Uint8Array, what: string): ByteReader {
  const view = new DataView(untrusted.buffer, untrusted.byteOffset, untrusted.byteLength);
  let at = 0;

  const take = (count: number): number => {
    if (count > untrusted.length - at) {
      throw new FormatError(
        "truncated",
        `read ${what}: ${untrusted.length - at} bytes left, ${count} wanted`,
      );
    }
    const start = at;
    at += count;
    return start;
  };

  const reader: ByteReader = {
    u8: () => view.getUint8(take(1)),
    u16: () => view.getUint16(take(2)),
    u32: () => view.getUint32(take(4)),
    u64: () => {
      const start = take(8);
      const high = view.getUint32(start);
      if (high > 0x1f_ffff) throw new FormatError("bad-value", `read ${what}: an integer above 2^53-1`);
      return high * 2 ** 32 + view.getUint32(start + 4);
    },
    bytes: (count) => {
      const start = take(count);
      return plainBytes(untrusted.subarray(start, start + count));
    },
    text: (count) => {
      const raw = reader.bytes(count);
      try {
        return strictText.decode(raw);
      } catch {
        throw new FormatError("bad-value", `read ${what}: text that is not UTF-8`);
      }
    },
    left: () => untrusted.length - at,
    end: () => {
      if (at !== untrusted.length) {
        throw new FormatError("trailing", `read ${what}: ${untrusted.length - at} bytes too many`);
      }
    },
  };
  return reader;
}
