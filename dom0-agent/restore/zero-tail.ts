// What lies behind a restored volume's end, where its storage counts in larger units: less than one of them.

import { writeSync } from "node:fs";
import { readFully } from "../read-fully.ts";

const step: number = 1024 * 1024;

/** Makes the bytes of `fd` from `from` up to `to` zeros, and writes only where they are not. */
export function zeroTail(fd: number, from: number, to: number): void {
  const zeros = Buffer.alloc(step);
  for (let at = from; at < to; at += step) {
    const there = Buffer.alloc(Math.min(step, to - at));
    readFully(fd, there, at, "what is there");
    const wanted = zeros.subarray(0, there.length);
    if (there.equals(wanted)) continue;
    for (let done = 0; done < wanted.length;)
      done += writeSync(fd, wanted, done, wanted.length - done, at + done);
  }
}
