// One zstd frame, as a stored chunk has it once it is open (archive-format.md, F25): a bounded window, a bounded output, and
// all of the input consumed.

import { constants, zstdDecompressSync } from "node:zlib";
import { FormatError } from "../errors.ts";

/** log2 of the largest zstd window: 8 MiB (F25). */
const windowLog = 23;
/** Room behind the plaintext in zstd's output buffer, so that it sees the end of the frame without a second one. */
export const slackBytes = 1024;

interface WithInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

/** What the frame holds, at most `length` bytes. Throws FormatError: `bad-value` where it is none or holds more, `trailing`
 *  where something is left behind it. */
export function decompress(frame: Uint8Array, length: number): Uint8Array {
  let result: WithInfo;
  try {
    result = zstdDecompressSync(frame, {
      info: true,
      maxOutputLength: length,
      chunkSize: length + slackBytes,
      params: { [constants.ZSTD_d_windowLogMax]: windowLog },
    }) as unknown as WithInfo;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError("bad-value", `zstd can't decompress it to ${length} bytes: ${reason}`);
  }
  if (result.engine.bytesWritten !== frame.length) {
    throw new FormatError("trailing", `zstd used ${result.engine.bytesWritten} of its ${frame.length} bytes`);
  }
  return result.buffer;
}
