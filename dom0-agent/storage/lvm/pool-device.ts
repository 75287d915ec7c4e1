// The pool as the device mapper sees it: which block of its metadata is held, since when, and how to let go of it (facts
// of LVM thin).

import { closeSync, constants, openSync } from "node:fs";
import { readFully } from "../../read-fully.ts";
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

/** What the kernel says of a pool. */
export interface PoolStatus {
  /** Rises by one with each thin volume that is made or removed. */
  readonly transaction: string;
  /** The block of the metadata snapshot, undefined when nobody holds one. */
  readonly heldRoot: string | undefined;
}

/** Looks without making the pool write. Throws StorageError `tool`. */
export async function poolStatus(pool: PoolDevice): Promise<PoolStatus> {
  const result = await runTool("dmsetup", ["status", "--noflush", pool.name]);
  const status = result.exitCode === 0 ? parsePoolStatus(result.stdout) : undefined;
  if (status !== undefined) return status;
  const why = result.failure ?? (result.stderr.trim() || result.stdout.trim());
  throw new StorageError("tool", `look at the pool ${pool.title}: dmsetup status: ${why.slice(0, 500)}`);
}

/** What dmsetup prints of a pool: its held root is the seventh word. undefined for what is no pool's whole status line, a
 *  failed pool's among them. */
export function parsePoolStatus(line: string): PoolStatus | undefined {
  const [, , target, transaction, , , root] = line.trim().split(/\s+/);
  if (!line.endsWith("\n") || target !== "thin-pool") return undefined;
  if (transaction === undefined || !/^\d+$/.test(transaction)) return undefined;
  if (root === undefined || !/^(?:-|\d+)$/.test(root)) return undefined;
  return { transaction, heldRoot: root === "-" ? undefined : root };
}

/** Gives undefined when the pool took the message, else what dmsetup said. */
export async function releaseMetadata(pool: PoolDevice): Promise<string | undefined> {
  const result = await runTool("dmsetup", ["message", pool.name, "0", "release_metadata_snap"]);
  return result.exitCode === 0 ? undefined : (result.failure ?? result.stderr.trim()).slice(0, 500);
}

/** How many have the metadata open: the pool itself is one. Throws StorageError `tool`. */
export async function metadataOpeners(pool: PoolDevice): Promise<number> {
  const args = ["info", "--columns", "--noheadings", "-o", "open", pool.metadata];
  const result = await runTool("dmsetup", args);
  const count = result.stdout.trim();
  if (result.exitCode === 0 && /^\d+$/.test(count)) return Number(count);
  const why = result.failure ?? (result.stderr.trim() || count);
  throw new StorageError(
    "tool",
    `look who reads the metadata of ${pool.title}: dmsetup info: ${why.slice(0, 500)}`,
  );
}

const metadataBlock = 4096;
const superblockMagic = 27_022_010n;

/** TypeScript knows it among a browser's types alone. Its memory begins at a page. */
declare const WebAssembly: { readonly Memory: new (pages: { initial: number }) => { buffer: ArrayBuffer } };

/** The pool's transaction when the metadata snapshot in block `root` was taken: that block is a copy of the superblock.
 *  Throws StorageError `tool` when it is none. */
export async function transactionHeld(pool: PoolDevice, root: string): Promise<string> {
  // Past the page cache, which does not see what the kernel writes.
  const block = Buffer.from(new WebAssembly.Memory({ initial: 1 }).buffer, 0, metadataBlock);
  try {
    const fd = openSync(pool.metadata, constants.O_RDONLY | constants.O_DIRECT);
    try {
      readFully(fd, block, Number(root) * metadataBlock, pool.metadata);
    } finally {
      closeSync(fd);
    }
    if (block.readBigUInt64LE(8) !== BigInt(root) || block.readBigUInt64LE(32) !== superblockMagic)
      throw new Error(`block ${root} holds no superblock`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StorageError("tool", `look into the metadata snapshot of ${pool.title}: ${why}`);
  }
  return String(block.readBigUInt64LE(48));
}
