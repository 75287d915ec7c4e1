// The pool as the device mapper sees it: which block of its metadata is held, and how to let go of it (facts of LVM
// thin).

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

/** The block of the metadata snapshot, undefined when nobody holds one. Looks without making the pool write. Throws
 *  StorageError `tool`. */
export async function heldRoot(pool: PoolDevice): Promise<string | undefined> {
  const result = await runTool("dmsetup", ["status", "--noflush", pool.name]);
  const status = result.exitCode === 0 ? parsePoolStatus(result.stdout) : undefined;
  if (status !== undefined) return status.heldRoot;
  const why = result.failure ?? (result.stderr.trim() || result.stdout.trim());
  throw new StorageError("tool", `look at the pool ${pool.title}: dmsetup status: ${why.slice(0, 500)}`);
}

/** What dmsetup prints of a pool: its held root is the seventh word. undefined for what is no pool's whole status line, a
 *  failed pool's among them. */
export function parsePoolStatus(line: string): { readonly heldRoot: string | undefined } | undefined {
  const [, , target, transaction, , , root] = line.trim().split(/\s+/);
  if (!line.endsWith("\n") || target !== "thin-pool" || !/^\d+$/.test(transaction ?? "")) return undefined;
  if (root === undefined || !/^(?:-|\d+)$/.test(root)) return undefined;
  return { heldRoot: root === "-" ? undefined : root };
}

/** Gives undefined when the pool took the message, else what dmsetup said. */
export async function releaseMetadata(pool: PoolDevice): Promise<string | undefined> {
  const result = await runTool("dmsetup", ["message", pool.name, "0", "release_metadata_snap"]);
  return result.exitCode === 0 ? undefined : (result.failure ?? result.stderr.trim()).slice(0, 500);
}
