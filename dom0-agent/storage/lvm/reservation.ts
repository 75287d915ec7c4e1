// The metadata snapshot: while it is held, the pool's metadata can be read although the pool goes on. The kernel has
// room for one; another program may hold it, and its is never released by us. What we take is written down before, so
// that what a killed run leaves is recognised (design section 5).
//
//   1. nobody holds it; the intent, without a root, is written and synced: this pool and its transaction, this process
//   2. a helper reserves, and writes down which block is held now; a SIGKILL of this process does not stop it
//   3. the intent is written again, with that block
//   4. … the metadata is read …
//   5. released, if it is still that block; then the intent is removed
//
// A reservation outlives its process and even a reboot: it stands in the pool's superblock. What is found held is ours
// if it is the block that the intent or the helper wrote down. Where the machine lost its power between the reservation
// and that word, `fromEarlierBoot` says what is known. Without a word in the same boot (somebody killed the helper alone)
// it is left alone, and the user is told how to let go of it.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { removeFile } from "../../state/atomic-file.ts";
import { DamagedStateError, field, readRecord, writeRecord } from "../../state/record.ts";
import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";
import {
  metadataOpeners,
  parsePoolStatus,
  type PoolDevice,
  poolDevice,
  poolStatus,
  releaseMetadata,
  transactionHeld,
} from "./pool-device.ts";
import { isAlive, isOfThisBoot, ourIdentity, type ProcessIdentity } from "./process-identity.ts";

interface Intent extends ProcessIdentity {
  readonly vg: string;
  readonly pool: string;
  readonly poolUuid: string;
  /** The pool's, when nobody held its metadata yet. */
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
  /** Throws StorageError `held` when the metadata is not held by us any more: another program has let go of it. */
  verify(): Promise<void>;
  /** Lets go, and makes it known. Throws StorageError `tool`; then the next run lets go. */
  release(): Promise<void>;
}

/** Takes the metadata snapshot. Throws StorageError `held` when somebody else has it. Any intent of ours must have been
 *  settled before (settleLeftover). */
export async function reserveMetadata(pool: PoolIdentity, stateDirectory: string): Promise<Reservation> {
  const device = poolDevice(pool.vg, pool.pool);
  const path = intentPath(stateDirectory);
  const before = await poolStatus(device);
  if (before.heldRoot !== undefined) throw held(device, before.heldRoot);
  const intent: Intent = {
    vg: pool.vg,
    pool: pool.pool,
    poolUuid: pool.uuid,
    transaction: before.transaction,
    ...ourIdentity(),
    root: "",
  };
  removeFile(wordPath(stateDirectory));
  writeRecord(path, intent);
  const refused = await runHelper(device, stateDirectory);
  const root = refused === undefined ? await helpersWord(stateDirectory) : undefined;
  if (root === undefined) {
    // What the helper may hold all the same, the next run lets go of.
    if (refused === "busy") removeFile(path);
    throw refused === "busy" ? held(device, "unknown") : notReserved(device, stateDirectory, refused);
  }
  try {
    writeRecord(path, { ...intent, root });
  } catch (error) {
    // Should this fail as well, the helper's word is there for the next run.
    await releaseIfHeld(device, root).catch(() => undefined);
    throw error;
  }
  return {
    verify: async () => {
      if ((await poolStatus(device)).heldRoot === root) return;
      throw new StorageError(
        "held",
        `the metadata of ${device.title} was let go of by another program while it was read`,
        "run again when no other backup tool works on this pool",
      );
    },
    release: async () => {
      await releaseIfHeld(device, root);
      removeFile(path);
      removeFile(wordPath(stateDirectory));
    },
  };
}

/** Reserves, and writes the pool's status to the word's path; where that fails, it lets go. It holds a lock on the state
 *  directory while it lives, and of the signals that end whole process groups only SIGKILL ends it. cat says when a disk
 *  is full; dmsetup ends well all the same. */
const helper = `
trap '' HUP INT TERM
dmsetup message "$1" 0 reserve_metadata_snap || exit
word=$(dmsetup status --noflush "$1") && echo "$word" | cat >"$2" && exit
rm -f -- "$2"
dmsetup message "$1" 0 release_metadata_snap
exit 1`;

/** Gives undefined when the helper succeeded, `busy` when somebody else was first, else what it said. */
async function runHelper(device: PoolDevice, stateDirectory: string): Promise<string | undefined> {
  const command = ["sh", "-c", helper, "sh", device.name, wordPath(stateDirectory)];
  const result = await runTool("flock", ["--exclusive", stateDirectory, ...command]);
  if (result.exitCode === 0) return undefined;
  if (/resource busy/i.test(result.stderr)) return "busy";
  return (result.failure ?? result.stderr.trim()).slice(0, 500);
}

/** The block that the helper reserved, once no helper is at work; undefined when it left no word. */
async function helpersWord(stateDirectory: string): Promise<string | undefined> {
  const result = await runTool("flock", ["--exclusive", "--timeout", "30", stateDirectory, "true"]);
  if (result.exitCode !== 0) {
    const why = result.failure ?? (result.stderr.trim() || "it is locked for 30 s");
    throw new StorageError("held", `wait for the reservation in ${stateDirectory}: flock: ${why}`);
  }
  const path = wordPath(stateDirectory);
  return existsSync(path) ? parsePoolStatus(readFileSync(path, "utf8"))?.heldRoot : undefined;
}

/**
 * Lets go of what a dead process of ours still holds, by its written intent; anything else is left alone. `uuidOf` finds
 * a pool's uuid by its names; without an intent nothing is asked. Throws StorageError `held` while the process
 * lives.
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
    const root =
      intent.root !== ""
        ? intent.root
        : ((await helpersWord(stateDirectory)) ?? (await fromEarlierBoot(device, intent)));
    if (root !== undefined) await releaseIfHeld(device, root);
  }
  removeFile(path);
  removeFile(wordPath(stateDirectory));
}

/**
 * The block that is held since a boot that has ended, as far as this can be known without a word of the one who took it.
 * Nobody lives who could need that, whoever took it. It was taken after the intent, because nothing was held then, and it
 * knows the pool as it was at the intent, before any thin volume was made or removed. A program of this boot would have
 * had to take it before one was (each VM that starts makes some), and it would be reading it: then StorageError `held`.
 */
async function fromEarlierBoot(device: PoolDevice, intent: Intent): Promise<string | undefined> {
  if (isOfThisBoot(intent)) return undefined;
  const { heldRoot } = await poolStatus(device);
  if (heldRoot === undefined) return undefined;
  if ((await metadataOpeners(device)) > 1) throw held(device, heldRoot);
  return (await transactionHeld(device, heldRoot)) === intent.transaction ? heldRoot : undefined;
}

/** An intent that is damaged proves nothing, so what is held is treated as another program's. */
function readIntent(path: string): Intent | undefined {
  try {
    return readRecord(path, (value): Intent => ({
      vg: field.text(value, "vg"),
      pool: field.text(value, "pool"),
      poolUuid: field.text(value, "poolUuid"),
      transaction: field.text(value, "transaction"),
      bootId: field.text(value, "bootId"),
      pid: field.number(value, "pid"),
      startedAt: field.text(value, "startedAt"),
      root: field.text(value, "root"),
    }));
  } catch (error) {
    if (error instanceof DamagedStateError) return undefined;
    throw error;
  }
}

/** Lets go of the metadata snapshot in block `root`; another one, or none, is left as it is. */
async function releaseIfHeld(device: PoolDevice, root: string): Promise<void> {
  if ((await poolStatus(device)).heldRoot !== root) return;
  const refused = await releaseMetadata(device);
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

function notReserved(device: PoolDevice, stateDirectory: string, why: string | undefined): StorageError {
  const isFull = why !== undefined && /no space left/i.test(why);
  return new StorageError(
    "tool",
    `reserve the metadata of ${device.title}: ${why ?? "it is not held"}`,
    isFull ? `make room on the file system of ${stateDirectory}, which is this machine's own` : undefined,
  );
}

function intentPath(stateDirectory: string): string {
  return join(stateDirectory, "reservation");
}

/** Where the helper writes what it got. */
function wordPath(stateDirectory: string): string {
  return join(stateDirectory, "reservation.held");
}
