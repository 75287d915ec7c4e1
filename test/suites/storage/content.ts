// Bytes to write, the same for the same seed.

/** A small generator of numbers below 2^31, the same for the same seed (Park and Miller). */
export function numbers(seed: number): () => number {
  let state = seed * 7919 + 1;
  return () => (state = (state * 48_271) % 2_147_483_647);
}

/** Bytes without a run of zeros. */
export function noise(length: number, seed: number): Buffer {
  const next = numbers(seed + 1);
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) bytes.writeInt32LE(next() | 1, at);
  return bytes;
}
