// Random numbers that a seed repeats, whatever the machine: the sequence of a run is its seed and nothing else.

export interface Random {
  /** A whole number from 0 to `below` − 1. */
  below(below: number): number;
  /** One of a list that is not empty. */
  pick<T>(from: readonly T[]): T;
  /** True once in `times`. */
  once(times: number): boolean;
}

/** xorshift128, seeded through a multiplicative hash so that seeds which adjoin lead apart. */
export function random(seed: number): Random {
  let state = seed >>> 0;
  const scatter = (): number => {
    state = (state + 0x9e37_79b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  let [x, y, z, w] = [scatter(), scatter(), scatter(), scatter() | 1];
  const next = (): number => {
    const t = x ^ (x << 11);
    [x, y, z] = [y, z, w];
    w = (w ^ (w >>> 19) ^ t ^ (t >>> 8)) >>> 0;
    return w;
  };
  const below = (limit: number): number => next() % limit;
  return {
    below,
    pick: (from) => from[below(from.length)]!,
    once: (times) => below(times) === 0,
  };
}
