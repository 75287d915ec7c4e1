// Changes bytes as a hostile peer or a dying disk would: a little, so that what comes out is still looked at deep inside
// the decoder, and now and then a lot.

import type { Random } from "./random.ts";

/** Values at which lengths, counts and numbers go wrong. */
const edges = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** A changed copy of `bytes`; `others` lend pieces of their own. The result is at most 64 KiB longer. */
export function mutate(random: Random, bytes: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let mutant = bytes.slice();
  for (let changes = 1 + random.below(3); changes > 0; changes--) mutant = change(random, mutant, others);
  return mutant;
}

function change(random: Random, bytes: Uint8Array, others: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const mutant = bytes.slice();
  switch (random.below(7)) {
    case 0:
      if (at < mutant.length) mutant[at] = mutant[at]! ^ (1 << random.below(8));
      return mutant;
    case 1:
      if (at < mutant.length) mutant[at] = random.pick(edges) & 0xff;
      return mutant;
    case 2:
      if (at + 4 <= mutant.length)
        new DataView(mutant.buffer).setUint32(at, random.pick(edges) + random.below(2));
      return mutant;
    case 3:
      return mutant.slice(0, at);
    case 4: {
      const other = random.pick(others);
      const from = random.below(other.length + 1);
      return joined(mutant.subarray(0, at), other.subarray(from), mutant.subarray(at));
    }
    case 5: {
      const until = Math.min(mutant.length, at + random.below(64));
      return joined(mutant.subarray(0, at), mutant.subarray(until));
    }
    default: {
      const other = random.pick(others);
      return joined(mutant.subarray(0, at), other.subarray(random.below(other.length + 1)));
    }
  }
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole.slice(0, 128 * 1024);
}
