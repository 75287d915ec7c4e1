// The pool as the device mapper sees it: its state, the two messages that hold and release its metadata, and the one
// block that says when a held copy was made (facts of LVM thin).

import { closeSync, constants, openSync, readSync } from "node:fs";
import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";
import { mapperName } from "./names.ts";

export interface PoolDevice {
  /** `VG/POOL`, for messages to the user. */
  readonly title: string;
  /** The device mapper's name of what takes the messages. */
  readonly name: string;
  /** Path of the metadata. */
  readonly metadata: string;
}

/** The devices of a pool. They exist while a volume of it is active. */
export function poolDevice(vg: string, pool: string): PoolDevice {
  const mapped = mapperName(vg, pool);
  return { title: `${vg}/${pool}`, name: `${mapped}-tpool`, metadata: `/dev/mapper/${mapped}_tmeta` };
}

export interface PoolStatus {
  /** Grows with each volume that is made or removed. */
  readonly transaction: string;
  /** The block of the metadata snapshot, undefined when nobody holds one. */
  readonly heldRoot: string | undefined;
}

/** Looks without making the pool write. Throws StorageError `tool`. */
export async function poolStatus(pool: PoolDevice): Promise<PoolStatus> {
  const result = await runTool("dmsetup", ["status", "--noflush", pool.name]);
  const [, , target, transaction, , , root] = result.stdout.trim().split(/\s+/);
  if (
    result.exitCode === 0 &&
    target === "thin-pool" &&
    transaction !== undefined &&
    /^\d+$/.test(transaction) &&
    root !== undefined &&
    /^(?:-|\d+)$/.test(root)
  ) {
    return { transaction, heldRoot: root === "-" ? undefined : root };
  }
  const why = result.failure ?? (result.stderr.trim() || result.stdout.trim());
  throw new StorageError("tool", `look at the pool ${pool.title}: dmsetup status: ${why.slice(0, 500)}`);
}

/** Sends one of the two messages. Gives undefined when it was taken, else what dmsetup said. */
export async function sendMessage(
  pool: PoolDevice,
  message: "reserve_metadata_snap" | "release_metadata_snap",
): Promise<string | undefined> {
  const result = await runTool("dmsetup", ["message", pool.name, "0", message]);
  return result.exitCode === 0 ? undefined : (result.failure ?? result.stderr.trim()).slice(0, 500);
}

const blockBytes = 4096;
/** O_DIRECT wants memory that begins at a page, as WebAssembly's does. */
const Pages = (globalThis as unknown as { WebAssembly: { Memory: PageMemory } }).WebAssembly.Memory;
type PageMemory = new (size: { readonly initial: number }) => { readonly buffer: ArrayBuffer };
const superblockMagic = 27_022_010n;

/** The pool's transaction at the time when the metadata snapshot in block `root` was made; undefined when the block is
 *  no such thing. Read past the page cache, which does not see what the kernel writes. */
export function heldTransaction(pool: PoolDevice, root: string): string | undefined {
  const block = Buffer.from(new Pages({ initial: 1 }).buffer, 0, blockBytes);
  const fd = openSync(pool.metadata, constants.O_RDONLY | constants.O_DIRECT);
  try {
    if (readSync(fd, block, 0, blockBytes, Number(root) * blockBytes) !== blockBytes) return undefined;
  } finally {
    closeSync(fd);
  }
  if (block.readBigUInt64LE(8) !== BigInt(root) || block.readBigUInt64LE(32) !== superblockMagic)
    return undefined;
  return String(block.readBigUInt64LE(48));
}
