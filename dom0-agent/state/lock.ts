// Locks between runs. flock(1) locks the open file that it is handed as stdin; the lock belongs to that open file,
// so it stays with us after flock has ended, and goes with our process, however that ends.

import { closeSync, constants, openSync } from "node:fs";
import { AgentError } from "../errors.ts";
import { runTool } from "../tools.ts";

export interface Lock extends Disposable {
  readonly path: string;
}

/**
 * Takes the lock of `path`, waiting at most `seconds`. Throws AgentError `locked` when another run holds it; `what`
 * says in the message what that other run is doing.
 */
export async function takeLock(path: string, what: string, seconds: number): Promise<Lock> {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  const args = ["--exclusive", ...(seconds > 0 ? ["--timeout", String(seconds)] : ["--nonblock"]), "0"];
  const result = await runTool("flock", args, { stdinFd: fd });
  if (result.exitCode === 0) return { path, [Symbol.dispose]: () => closeSync(fd) };
  closeSync(fd);
  if (result.exitCode === 1)
    throw new AgentError("locked", `${what}: ${path} is locked by another run of sparsebak`);
  throw new AgentError("failed", `lock ${path}: flock: ${result.failure ?? result.stderr.trim()}`);
}

/** Seconds that a command that changes an archive waits for its lock: a reading one may be noting a head just now. */
const archiveLockSeconds = 2;

/** Takes an archive's lock, which every command that changes it holds for as long as it runs. Throws as takeLock does. */
export async function takeArchiveLock(path: string, what: string): Promise<Lock> {
  return takeLock(path, what, archiveLockSeconds);
}

/** The lock of `path`, or undefined when somebody else has it just now. */
export async function tryLock(path: string): Promise<Lock | undefined> {
  try {
    return await takeLock(path, "", 0);
  } catch (error) {
    if (error instanceof AgentError && error.reason === "locked") return undefined;
    throw error;
  }
}
