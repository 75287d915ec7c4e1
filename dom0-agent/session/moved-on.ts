// Telling damage from what another host has removed: chunks that a reader misses may be gone because a prune or delete
// elsewhere has made a newer state since the reader opened the archive. Within one dom0 a lock keeps that from happening
// (state/lock.ts).

import { equalBytes } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import type { OpenArchive } from "./archive.ts";
import { RefusedError } from "./client.ts";
import type { Context } from "./context.ts";
import { openDestination } from "./destination.ts";

/** Looks at the archive once more: true where it has another verified head than `open` by now. A look that comes to
 *  nothing says no: the error that was the reason to look stands. */
export async function hasMovedOn(context: Context, open: OpenArchive): Promise<boolean> {
  if (context.signal.aborted) return false;
  const looking = { ...context, acceptRollback: async () => false };
  try {
    const now = await openDestination(looking, open.settings, "sparsebak.Receive", async () => false);
    if (now === undefined) return false;
    await using client = now.client;
    await client.close();
    return !equalBytes(now.headDigest, open.headDigest);
  } catch {
    return false;
  }
}

/** What a reader says whose archive has moved on. */
export function changedMeanwhile(command: string): AgentError {
  return new AgentError(
    "failed",
    `${command}: the archive was changed by another host while it was read, so what was missing may be no damage`,
    "run it again",
  );
}

/** The error to report for one that a reader has met: another one where it is about what the archive holds and the
 *  archive has moved on. */
export async function ifMovedOn(
  context: Context,
  open: OpenArchive | undefined,
  command: string,
  error: unknown,
): Promise<unknown> {
  const isAboutContent =
    error instanceof AgentError && (error.reason === "integrity" || error instanceof RefusedError);
  if (open === undefined || !isAboutContent || !(await hasMovedOn(context, open))) return error;
  return changedMeanwhile(command);
}
