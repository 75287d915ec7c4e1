// What each side says before its first frame: 12 magic bytes, the wire version as u16, two zero bytes. On dom0's side
// of the stream a login shell may have printed something before it (facts of qrexec); so much of that is skipped, and
// none of it is kept.

import { FormatError } from "../errors.ts";
import { wireVersion } from "../version.ts";

// \0\xffSPARSEBAK\n. The first byte occurs only once in it: where a match breaks off, a new one can begin only there.
const magic = Uint8Array.from([0x00, 0xff, 0x53, 0x50, 0x41, 0x52, 0x53, 0x45, 0x42, 0x41, 0x4b, 0x0a]);
export const preambleBytes: number = magic.length + 4;
/** Bytes that may stand before the preamble where noise is allowed. */
export const maxNoiseBytes: number = 64 * 1024;

/** The sixteen bytes that each side sends first. */
export function encodePreamble(): Uint8Array {
  const bytes = new Uint8Array(preambleBytes);
  bytes.set(magic);
  new DataView(bytes.buffer).setUint16(magic.length, wireVersion);
  return bytes;
}

/** Looks for the other side's preamble in a stream that comes in pieces of any length. */
export interface PreambleFinder {
  /** True once all sixteen bytes have been taken. */
  readonly found: boolean;
  /**
   * Takes bytes up to the end of the preamble; gives how many. Throws FormatError `bad-magic` as soon as more than
   * the allowed noise came before it, `bad-version`, or `bad-value` where the reserved bytes are set.
   */
  take(untrusted: Uint8Array): number;
}

/** A finder that lets at most `noise` bytes precede the preamble. */
export function preambleFinder(noise: number): PreambleFinder {
  const tail = new Uint8Array(preambleBytes - magic.length);
  let matched = 0;
  let skipped = 0;

  const step = (byte: number): void => {
    if (matched >= magic.length) {
      tail[matched++ - magic.length] = byte;
      if (matched === preambleBytes) checkTail(tail);
    } else if (byte === magic[matched]) {
      matched++;
    } else {
      const again = byte === magic[0];
      skipped += matched + (again ? 0 : 1);
      matched = again ? 1 : 0;
      if (skipped > noise) {
        throw new FormatError(
          "bad-magic",
          `read preamble: not sparsebak, or more than ${noise} bytes came before it`,
        );
      }
    }
  };

  return {
    get found() {
      return matched === preambleBytes;
    },
    take: (untrusted) => {
      for (const [at, byte] of untrusted.entries()) {
        if (matched === preambleBytes) return at;
        step(byte);
      }
      return untrusted.length;
    },
  };
}

function checkTail(untrusted: Uint8Array): void {
  const view = new DataView(untrusted.buffer);
  const version = view.getUint16(0);
  if (version !== wireVersion) {
    throw new FormatError(
      "bad-version",
      `read preamble: the other side speaks version ${version}, wanted ${wireVersion}`,
    );
  }
  if (view.getUint16(2) !== 0) throw new FormatError("bad-value", "read preamble: reserved bytes are set");
}
