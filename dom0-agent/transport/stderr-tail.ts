// Keeps the end of what a child prints to stderr. A flood costs no memory and never blocks the child.

import type { Readable } from "node:stream";
import { printable } from "./printable.ts";

/** Bytes that are kept. */
const tailBytes = 4096;

export interface StderrTail {
  /** The last 4 KiB so far, made printable; begins with `…` where something was cut off. */
  text(): string;
}

/** Reads `stream` to its end, at whatever speed it comes. */
export function stderrTail(stream: Readable): StderrTail {
  let tail: Uint8Array = new Uint8Array(0);
  let cut = false;
  stream.on("data", (untrusted: Uint8Array) => {
    const kept = Math.min(tail.length, Math.max(0, tailBytes - untrusted.length));
    cut ||= tail.length + untrusted.length > tailBytes;
    tail = Buffer.concat([tail.subarray(tail.length - kept), untrusted.subarray(-tailBytes)]);
  });
  // An error ends the stream like an end does; whoever owns the child waits for `close`.
  stream.on("error", () => {});
  return { text: () => (cut ? `…${printable(wholeCharacters(tail))}` : printable(tail)) };
}

/** Without the rest of a character at the front, where the cut went through it. */
function wholeCharacters(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.subarray(start);
}
