// The receipt: 16 characters that a person keeps on paper, by which an archive that was rolled back is noticed even
// where dom0's own memory of it is gone (design section 8). 80 bits: 20 of generation, 55 of that generation's entry in
// the head's log, 5 of check.

import { createHash } from "node:crypto";
import { type Head, logEntryOf } from "../archive/head.ts";
import type { Generation } from "../archive/types.ts";
import { FormatError } from "../errors.ts";
import { fromBase32, grouped, toBase32 } from "./base32.ts";

export interface Receipt {
  readonly generation: Generation;
  /** The first 55 bits of the log entry, in 7 bytes, the last bit 0. */
  readonly mac: Uint8Array;
}

const bytes = 10;
const macBytes = 7;
/** Generations that 20 bits hold. */
const maxGeneration = 2 ** 20 - 1;

/** The receipt of a generation, from its entry in the log. */
export function receiptOf(generation: Generation, logEntry: Uint8Array): Receipt {
  const mac = Uint8Array.from(logEntry.subarray(0, macBytes));
  mac[macBytes - 1] = (mac[macBytes - 1] ?? 0) & 0xfe;
  return { generation, mac };
}

/** `XXXX-XXXX-XXXX-XXXX`; throws FormatError `bad-value` for a generation above 2^20 − 1. */
export function receiptText(receipt: Receipt): string {
  const { generation } = receipt;
  if (generation > maxGeneration)
    throw new FormatError("bad-value", `write receipt: generation ${generation}, at most ${maxGeneration}`);
  const packed = new Uint8Array(bytes);
  packed[0] = generation >> 12;
  packed[1] = (generation >> 4) & 0xff;
  packed[2] = (generation & 0x0f) << 4;
  receipt.mac.forEach((byte, i) => {
    packed[2 + i] = (packed[2 + i] ?? 0) | (byte >> 4);
    packed[3 + i] = (byte & 0x0f) << 4;
  });
  // 75 bits are set; the last five are the check.
  packed[9] = (packed[9] ?? 0) | checkOf(packed);
  return grouped(toBase32(packed), 4);
}

/** Reads a receipt; throws FormatError `bad-digest` where it was mistyped. */
export function parseReceipt(text: string): Receipt {
  const packed = fromBase32(text);
  if (packed?.length !== bytes)
    throw new FormatError("bad-value", "read receipt: wanted 16 characters, as in XXXX-XXXX-XXXX-XXXX");
  const check = (packed[9] ?? 0) & 0x1f;
  packed[9] = (packed[9] ?? 0) & 0xe0;
  if (checkOf(packed) !== check)
    throw new FormatError("bad-digest", "read receipt: a character is wrong: its check does not fit");
  const generation = ((packed[0] ?? 0) << 12) | ((packed[1] ?? 0) << 4) | ((packed[2] ?? 0) >> 4);
  const mac = Uint8Array.from(
    { length: macBytes },
    (_, i) => (((packed[2 + i] ?? 0) & 0x0f) << 4) | ((packed[3 + i] ?? 0) >> 4),
  );
  if (generation < 1) throw new FormatError("bad-value", "read receipt: of a generation before the first");
  return { generation: generation as Generation, mac };
}

/** True where the log of a head, which has been verified, holds what the receipt says. */
export function logHolds(head: Pick<Head, "log">, receipt: Receipt): boolean {
  const entry = logEntryOf(head, receipt.generation);
  return entry !== undefined && Buffer.compare(receiptOf(receipt.generation, entry).mac, receipt.mac) === 0;
}

function checkOf(packed: Uint8Array): number {
  const first75 = packed.slice();
  first75[9] = (first75[9] ?? 0) & 0xe0;
  return (createHash("sha256").update("sparsebak receipt v1").update(first75).digest()[0] ?? 0) >> 3;
}
