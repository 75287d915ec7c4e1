// What a storage is tried in.

import type { Storage } from "../../../dom0-agent/storage/storage.ts";

/** A place of its own for one case: volumes, and the storage that is tried on them. */
export interface StorageHarness extends AsyncDisposable {
  readonly storage: Storage;
  /** Makes a volume of zeros, `size` bytes, a multiple of 4 MiB, that occupies nothing yet. */
  makeVolume(name: string, size: number): void;
  /** Writes so that the storage has to see it, at once and without any further sync. */
  writeAt(name: string, offset: number, bytes: Uint8Array): void;
  /** Makes a hole; both numbers are multiples of 1 MiB. */
  discard(name: string, offset: number, length: number): void;
  resize(name: string, size: number): void;
  remove(name: string): void;
}
