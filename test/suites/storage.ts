// What every Storage has to do, whatever holds the volumes: the cases of storage/, in its three kinds.

import { type Case, caseMaker } from "./case.ts";
import { commonCases } from "./storage/common-cases.ts";
import type { StorageHarness } from "./storage/harness.ts";
import { plainCases } from "./storage/plain-cases.ts";
import { snapshotCases } from "./storage/snapshot-cases.ts";

/**
 * The suite. `make` gives each case a harness of its own; `capable` is what the storage must be capable of, and chooses
 * the cases. Nothing is made until a case runs, so the names can be had anywhere.
 */
export function storageCases(
  make: () => Promise<StorageHarness>,
  capable: { readonly snapshots: boolean },
): readonly Case[] {
  const add = caseMaker(make);
  return [...commonCases(add), ...(capable.snapshots ? snapshotCases : plainCases)(add)];
}
