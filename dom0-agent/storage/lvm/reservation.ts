// The metadata snapshot: while it is held, thin_delta can read the pool's metadata although the pool goes on. The
// kernel has room for one; another program may hold it, and its is never released by us. What we take is written down
// before, so that a run that was killed leaves no doubt whose it is (design section 5).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { removeFile } from "../../state/atomic-file.ts";
import { field, readRecord, writeRecord } from "../../state/record.ts";
import { runTool } from "../../tools.ts";
import { StorageError } from "../storage.ts";

interface Intent {
  readonly poolUuid: string;
  readonly bootId: string;
  readonly pid: number;
  /** The process's start, in the kernel's ticks: a pid is handed out again. */
  readonly startedAt: string;
  /** The held root before we asked: `-` unless another program had one. */
  readonly heldBefore: string;
  /** The root that we got; empty until we have it. */
  readonly root: string;
}

export interface Pool {
  readonly uuid: string;
  /** Name of the device that takes the messages, `VG-POOL-tpool`. */
  readonly device: string;
}

/** Takes the metadata snapshot; dispose of the result to let go. Throws StorageError `held` when somebody has it. */
export async function reserveMetadata(pool: Pool, stateDirectory: string): Promise<AsyncDisposable> {
  const path = intentPath(stateDirectory);
  await releaseLeftover(pool, stateDirectory);
  const heldBefore = await heldRoot(pool);
  if (heldBefore !== "-") throw held(pool);
  const intent: Intent = {
    poolUuid: pool.uuid,
    bootId: bootId(),
    pid: process.pid,
    startedAt: startOf(process.pid) ?? "",
    heldBefore,
    root: "",
  };
  writeRecord(path, intent);
  const result = await runTool("dmsetup", ["message", pool.device, "0", "reserve_metadata_snap"]);
  if (result.exitCode !== 0) {
    removeFile(path);
    if (/busy/i.test(result.stderr)) throw held(pool);
    throw new StorageError(
      "tool",
      `reserve the metadata of ${pool.device}: dmsetup: ${result.failure ?? result.stderr.trim()}`,
    );
  }
  writeRecord(path, { ...intent, root: await heldRoot(pool) });
  return {
    [Symbol.asyncDispose]: async () => {
      await release(pool);
      removeFile(path);
    },
  };
}

/** Lets go of what a dead process of ours still holds, by its written intent. Anything else is left alone. */
export async function releaseLeftover(pool: Pool, stateDirectory: string): Promise<void> {
  const path = intentPath(stateDirectory);
  const intent = readRecord(path, (value): Intent => ({
    poolUuid: field.text(value, "poolUuid"),
    bootId: field.text(value, "bootId"),
    pid: field.number(value, "pid"),
    startedAt: field.text(value, "startedAt"),
    heldBefore: field.text(value, "heldBefore"),
    root: field.text(value, "root"),
  }));
  if (intent === undefined || intent.poolUuid !== pool.uuid) return;
  const alive = intent.bootId === bootId() && startOf(intent.pid) === intent.startedAt;
  if (alive && intent.pid !== process.pid) {
    throw new StorageError(
      "held",
      `the metadata of ${pool.device} is held by sparsebak, process ${intent.pid}`,
    );
  }
  // The metadata snapshot survives a reboot; the intent says that nobody else had one when we asked.
  const root = await heldRoot(pool);
  const isOurs = intent.root === "" ? intent.heldBefore === "-" : intent.root === root;
  if (root !== "-" && isOurs) await release(pool);
  removeFile(path);
}

async function release(pool: Pool): Promise<void> {
  const result = await runTool("dmsetup", ["message", pool.device, "0", "release_metadata_snap"]);
  if (result.exitCode === 0) return;
  throw new StorageError(
    "tool",
    `release the metadata of ${pool.device}: dmsetup: ${result.failure ?? result.stderr.trim()}`,
  );
}

/** The block of the metadata snapshot, `-` when there is none: field 7 of the pool's status. */
async function heldRoot(pool: Pool): Promise<string> {
  const result = await runTool("dmsetup", ["status", pool.device]);
  const words = result.stdout.trim().split(/\s+/);
  const root = words[6];
  if (result.exitCode !== 0 || words[2] !== "thin-pool" || root === undefined || !/^(-|\d+)$/.test(root)) {
    throw new StorageError(
      "tool",
      `look at ${pool.device}: dmsetup status: ${(result.failure ?? result.stderr.trim()) || result.stdout.trim()}`,
    );
  }
  return root;
}

function held(pool: Pool): StorageError {
  return new StorageError(
    "held",
    `the metadata of ${pool.device} is held by another program`,
    "wait until it has ended (another backup tool, thin_dump); sparsebak does not take it away",
  );
}

function intentPath(stateDirectory: string): string {
  return join(stateDirectory, "reservation");
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** When a process began, or undefined when there is none: field 22 of its stat, behind the name in parentheses. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
