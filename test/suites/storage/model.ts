// A volume, and beside it what must be in it: every write is kept there, and what the storage says and gives is compared.

import { noise, numbers } from "./content.ts";
import type { StorageHarness } from "./harness.ts";
import { block } from "./judging.ts";

const mib = 1 << 20;

/** A volume with what must be in it. */
export class Model {
  readonly name: string;
  readonly #harness: StorageHarness;
  readonly #random: () => number;
  bytes: Buffer;

  constructor(harness: StorageHarness, name: string, size: number, seed = 1) {
    this.name = name;
    this.#harness = harness;
    this.#random = numbers(seed);
    this.bytes = Buffer.alloc(size);
    harness.makeVolume(name, size);
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset);
    this.#harness.writeAt(this.name, offset, bytes);
  }

  discard(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
    this.#harness.discard(this.name, offset, length);
  }

  /** What lies beyond the new end is gone for good; a volume that grows again need not show zeros there. */
  resize(size: number): void {
    const before = this.bytes;
    this.bytes = Buffer.alloc(size);
    before.copy(this.bytes);
    this.#harness.resize(this.name, size);
  }

  /** Random stretches of noise, some of zeros, some written with what is there already, and holes. */
  churn(rounds: number): void {
    for (let i = 0; i < rounds; i++) {
      const kind = this.#random() % 8;
      const length = kind === 0 ? 512 : ((this.#random() % 64) + 1) * block;
      const offset = (this.#random() % Math.floor((this.bytes.length - length) / 512)) * 512;
      if (kind === 1) this.write(offset, Buffer.from(this.bytes.subarray(offset, offset + length)));
      else if (kind === 2) this.write(offset, Buffer.alloc(length));
      else if (kind === 3) this.discard((this.#random() % (this.bytes.length / mib)) * mib, mib);
      else this.write(offset, noise(length, this.#random()));
    }
  }
}
