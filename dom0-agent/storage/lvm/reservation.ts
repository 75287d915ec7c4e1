// The metadata snapshot: while it is held, the pool's metadata can be read although the pool goes on. The kernel has
// room for one; another program may hold it, and its is never released by us. What we take is written down before, so
// that what a killed run leaves is recognised (design section 5).
//
//   1. the intent, without a root, is written and synced: this pool, this process, the pool's transaction
//   2. reserve
//   3. the intent is written again, with the block that is held now
//   4. … the metadata is read …
//   5. release, then the intent is removed
//
// A reservation outlives its process and even a reboot: it stands in the pool's superblock. Found held after a death
// between 1 and 3, it is ours if it was made at the transaction that the intent names; after 3, if it is that block.

import { join } from "node:path";
import { removeFile } from "../../state/atomic-file.ts";
import { DamagedStateError, field, readRecord, writeRecord } from "../../state/record.ts";
import { StorageError } from "../storage.ts";
import { heldTransaction, type PoolDevice, poolDevice, poolStatus, sendMessage } from "./pool-device.ts";
import { isAlive, ourIdentity, type ProcessIdentity } from "./process-identity.ts";

interface Intent extends ProcessIdentity {
  readonly vg: string;
  readonly pool: string;
  readonly poolUuid: string;
  readonly transaction: string;
  /** Empty until we have it. */
  readonly root: string;
}

/** The pool, by the names that lead to it and by its uuid. */
export interface PoolIdentity {
  readonly vg: string;
  readonly pool: string;
  readonly uuid: string;
}

export interface Reservation {
  /** Lets go, and makes it known. Throws StorageError `tool`; then the next run lets go. */
  release(): Promise<void>;
}

/** Takes the metadata snapshot. Throws StorageError `held` when somebody else has it. Any intent of ours must have been
 *  settled before (settleLeftover). */
export async function reserveMetadata(pool: PoolIdentity, stateDirectory: string): Promise<Reservation> {
  const device = poolDevice(pool.vg, pool.pool);
  const path = intentPath(stateDirectory);
  const { transaction, heldRoot } = await poolStatus(device);
  if (heldRoot !== undefined) throw held(device, heldRoot);
  const intent: Intent = {
    vg: pool.vg,
    pool: pool.pool,
    poolUuid: pool.uuid,
    ...ourIdentity(),
    transaction,
    root: "",
  };
  writeRecord(path, intent);
  const refused = await sendMessage(device, "reserve_metadata_snap");
  if (refused !== undefined) {
    removeFile(path);
    if (/busy/i.test(refused)) throw held(device, "unknown");
    throw new StorageError("tool", `reserve the metadata of ${device.title}: dmsetup: ${refused}`);
  }
  const release = async (): Promise<void> => {
    await sendRelease(device);
    removeFile(path);
  };
  try {
    const { heldRoot: root } = await poolStatus(device);
    if (root === undefined)
      throw new StorageError("tool", `reserve the metadata of ${device.title}: it is not held`);
    writeRecord(path, { ...intent, root });
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

/**
 * Lets go of what a dead process of ours still holds, by its written intent; anything else is left alone. `uuidOf` finds
 * a pool's uuid by its names; without an intent nothing is asked. Throws StorageError `held` while the process lives.
 */
export async function settleLeftover(
  stateDirectory: string,
  uuidOf: (vg: string, pool: string) => Promise<string | undefined>,
): Promise<void> {
  const path = intentPath(stateDirectory);
  const intent = readIntent(path);
  if (intent === undefined) return;
  const device = poolDevice(intent.vg, intent.pool);
  if (intent.pid !== process.pid && isAlive(intent)) {
    throw new StorageError(
      "held",
      `the metadata of ${device.title} is held by sparsebak, process ${intent.pid}`,
    );
  }
  const uuid = await uuidOf(intent.vg, intent.pool);
  // The disk may come back.
  if (uuid === undefined) return;
  if (uuid === intent.poolUuid) {
    const { heldRoot } = await poolStatus(device);
    if (heldRoot !== undefined && isOurs(intent, device, heldRoot)) await sendRelease(device);
  }
  removeFile(path);
}

function isOurs(intent: Intent, device: PoolDevice, heldRoot: string): boolean {
  if (intent.root !== "") return intent.root === heldRoot;
  return heldTransaction(device, heldRoot) === intent.transaction;
}

/** An intent that is damaged proves nothing, so what is held is treated as another program's. */
function readIntent(path: string): Intent | undefined {
  try {
    return readRecord(path, (value): Intent => ({
      vg: field.text(value, "vg"),
      pool: field.text(value, "pool"),
      poolUuid: field.text(value, "poolUuid"),
      bootId: field.text(value, "bootId"),
      pid: field.number(value, "pid"),
      startedAt: field.text(value, "startedAt"),
      transaction: field.text(value, "transaction"),
      root: field.text(value, "root"),
    }));
  } catch (error) {
    if (error instanceof DamagedStateError) return undefined;
    throw error;
  }
}

async function sendRelease(device: PoolDevice): Promise<void> {
  const refused = await sendMessage(device, "release_metadata_snap");
  if (refused === undefined) return;
  // Somebody may have let go of it by hand: then there is nothing left to do.
  if ((await poolStatus(device)).heldRoot === undefined) return;
  throw new StorageError("tool", `release the metadata of ${device.title}: dmsetup: ${refused}`);
}

function held(device: PoolDevice, root: string): StorageError {
  return new StorageError(
    "held",
    `the metadata of ${device.title} is held by another program (metadata snapshot in block ${root})`,
    "wait until it has ended: another backup tool, or thin_dump. If none runs, what is left of it goes with " +
      `dmsetup message ${device.name} 0 release_metadata_snap`,
  );
}

function intentPath(stateDirectory: string): string {
  return join(stateDirectory, "reservation");
}
