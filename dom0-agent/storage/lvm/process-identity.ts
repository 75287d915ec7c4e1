// Which process, beyond doubt: a pid is handed out again, so its start and the boot belong to it.

import { readFileSync } from "node:fs";

export interface ProcessIdentity {
  readonly bootId: string;
  readonly pid: number;
  /** When it began, in the kernel's ticks since the boot. */
  readonly startedAt: string;
}

/** This process. */
export function ourIdentity(): ProcessIdentity {
  return { bootId: bootId(), pid: process.pid, startedAt: startOf(process.pid) ?? "" };
}

/** True while that very process runs; one that only waits to be buried does not. */
export function isAlive(identity: ProcessIdentity): boolean {
  return isOfThisBoot(identity) && startOf(identity.pid) === identity.startedAt;
}

/** False for every process that ended with an earlier boot. */
export function isOfThisBoot(identity: ProcessIdentity): boolean {
  return identity.bootId === bootId();
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** Field 22 of its stat, counted from behind the name in parentheses, which may hold anything. */
function startOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}
