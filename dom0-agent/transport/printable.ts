// What a child or a VM printed is never shown as it came: it could move the cursor, retitle the terminal, fake lines
// of ours or reorder text (design section 3).

import { isUtf8 } from "node:buffer";

/** Letters, marks, digits, punctuation, symbols and the plain space; no control, format or separator characters. */
const harmless = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/**
 * One line of text that is safe to print: line breaks become `\n`, a backslash `\\`, and every other byte that is no
 * harmless character in valid UTF-8 `\xNN`. Line breaks at the end are dropped.
 */
export function printable(untrusted: Uint8Array): string {
  let end = untrusted.length;
  while (end > 0 && (untrusted[end - 1] === 0x0a || untrusted[end - 1] === 0x0d)) end--;
  let text = "";
  for (let at = 0; at < end;) {
    const length = sequenceLength(untrusted[at] ?? 0);
    const bytes = untrusted.subarray(at, Math.min(at + length, end));
    const character = isUtf8(bytes) ? Buffer.from(bytes).toString() : "";
    if (character === "\n") text += String.raw`\n`;
    else if (character === "\\") text += String.raw`\\`;
    else if (harmless.test(character)) text += character;
    else {
      // A broken sequence costs one byte only, so that what follows it is still read.
      const escaped = character === "" ? bytes.subarray(0, 1) : bytes;
      for (const byte of escaped) text += `\\x${byte.toString(16).padStart(2, "0")}`;
      at += escaped.length;
      continue;
    }
    at += bytes.length;
  }
  return text;
}

function sequenceLength(lead: number): number {
  if (lead < 0xc0) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}
