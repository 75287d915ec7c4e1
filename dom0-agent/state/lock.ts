// Locks between runs. flock(1) locks the open file that it is handed as stdin; the lock belongs to that open file,
// so it stays with us after flock has ended, and goes with our process, however that ends.

import { closeSync, constants, existsSync, openSync } from "node:fs";
import { AgentError } from "../errors.ts";
import { runTool } from "../tools.ts";
import type { ArchivePaths } from "./layout.ts";
import { writing } from "./writing.ts";

export interface Lock extends Disposable {
  readonly path: string;
}

type Mode = "exclusive" | "shared";

/** Paths of locks that this process holds alone. */
const heldHere = new Set<string>();

/** The lock of `path`, waited for at most `seconds`; undefined when another run holds it. */
async function lockOf(path: string, mode: Mode, seconds: number): Promise<Lock | undefined> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
  const fd = writing(path, () => openSync(path, flags, 0o600));
  const args = [`--${mode}`, ...(seconds > 0 ? ["--timeout", String(seconds)] : ["--nonblock"]), "0"];
  const result = await runTool("flock", args, { stdinFd: fd });
  if (result.exitCode === 0) {
    if (mode === "exclusive") heldHere.add(path);
    const release = (): void => {
      closeSync(fd);
      if (mode === "exclusive") heldHere.delete(path);
    };
    return { path, [Symbol.dispose]: release };
  }
  closeSync(fd);
  if (result.exitCode === 1) return undefined;
  throw new AgentError("failed", `lock ${path}: flock: ${result.failure ?? result.stderr.trim()}`);
}

/**
 * Takes the lock of `path`, waiting at most `seconds`. Throws AgentError `locked` when another run holds it; `what`
 * says in the message what that other run is doing.
 */
export async function takeLock(path: string, what: string, seconds: number): Promise<Lock> {
  const lock = await lockOf(path, "exclusive", seconds);
  if (lock !== undefined) return lock;
  throw new AgentError("locked", `${what}: ${path} is locked by another run of sparsebak`);
}

/** Seconds that a command that changes an archive waits for its lock: a reading one may be noting a head just now. */
const archiveLockSeconds = 2;

/** Takes an archive's lock, which every command that changes it holds for as long as it runs. Throws as takeLock does. */
export async function takeArchiveLock(path: string, what: string): Promise<Lock> {
  return takeLock(path, what, archiveLockSeconds);
}

/** The lock of `path`, or undefined when somebody else has it just now. */
export async function tryLock(path: string): Promise<Lock | undefined> {
  return lockOf(path, "exclusive", 0);
}

/** True where this process itself has the lock of `path`. */
export function isHeldHere(path: string): boolean {
  return heldHere.has(path);
}

/**
 * What reads an archive's chunks holds its lock of readers together with all others that do; `what` is the command.
 * Throws AgentError `locked` while something is being removed. An archive that dom0 has no state of is nobody's to
 * remove from, and has no lock.
 */
export async function lockForReading(paths: ArchivePaths, what: string): Promise<Lock | undefined> {
  if (!existsSync(paths.directory)) return undefined;
  const lock = await lockOf(paths.readers, "shared", archiveLockSeconds);
  if (lock !== undefined) return lock;
  throw new AgentError(
    "locked",
    `${what}: another run of sparsebak is removing something from the archive (${paths.readers} is locked)`,
    "run it again when that prune, delete or repair has ended",
  );
}

/** What removes anything that sessions are made of holds the same lock alone, besides the archive's. Throws AgentError
 *  `locked` while the archive is being read. */
export async function lockForRemoval(paths: ArchivePaths, what: string): Promise<Lock> {
  const lock = await lockOf(paths.readers, "exclusive", archiveLockSeconds);
  if (lock !== undefined) return lock;
  throw new AgentError(
    "locked",
    `${what}: another run of sparsebak is reading the archive (${paths.readers} is locked); nothing was removed`,
    "run it again when that receive, verify, diff, check or assemble has ended",
  );
}
