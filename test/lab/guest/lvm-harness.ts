// LVM storage on a real pool, for the storage suite and for the cases that only LVM has.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lvmStorage } from "../../../dom0-agent/storage/lvm/lvm-storage.ts";
import type { Storage, StorageOptions } from "../../../dom0-agent/storage/storage.ts";
import type { StorageHarness } from "../../suites/storage/harness.ts";
import {
  discardVolume,
  heldRoot,
  makeThin,
  poolMessage,
  removeVolumes,
  run,
  vg,
  writeVolume,
} from "./lvm.ts";

export interface LvmHarness extends StorageHarness {
  readonly pool: string;
  readonly options: StorageOptions;
  /** The same pool as another installation, or another run, sees it. */
  storageOf(options: Partial<StorageOptions>): Storage;
}

/** An empty pool with a storage on it. When it is disposed of, every thin volume of the group goes. */
export function lvmHarness(pool: string): LvmHarness {
  const stateDirectory = mkdtempSync(join("/tmp", "state-"));
  const options: StorageOptions = {
    owner: "0123abcd",
    stateDirectory,
    maxDataPercent: 95,
    maxMetadataPercent: 90,
    signal: new AbortController().signal,
  };
  const storageOf = (other: Partial<StorageOptions>): Storage =>
    lvmStorage({ vg, pool }, { ...options, ...other });
  return {
    pool,
    options,
    storageOf,
    storage: storageOf({}),
    makeVolume: (name, size) => makeThin(pool, name, size),
    writeAt: writeVolume,
    discard: discardVolume,
    resize: (name, size) => void run("lvresize", "-y", "-f", "-q", "-L", `${size}b`, `${vg}/${name}`),
    remove: (name) => removeVolumes(name),
    [Symbol.asyncDispose]: async () => {
      if (heldRoot(pool) !== "-") poolMessage(pool, "release_metadata_snap");
      removeVolumes();
      rmSync(stateDirectory, { recursive: true });
    },
  };
}
