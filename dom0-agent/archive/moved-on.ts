// Telling damage from what another host has removed: what a reader misses may be gone because a prune or delete elsewhere
// has made a newer state since the reader opened the archive. Within one dom0 a lock keeps that from happening
// (state/lock.ts).

import type { VolumeIndex } from "../../protocol/archive/index-file.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";
import { type OpenArchive, readIndex, readNamedIndex } from "./archive.ts";
import { RefusedError } from "./refused-error.ts";
import type { Context } from "../context.ts";
import { openDestination } from "./destination.ts";
import { isDamage } from "./read-or-copy.ts";

/** Looks at the archive once more: true where its verified head lacks anything by now that the one of `open` had. A look
 *  that comes to nothing says no: the error that was the reason to look stands. */
export async function hasLostSince(context: Context, open: OpenArchive): Promise<boolean> {
  if (context.signal.aborted) return false;
  const looking = { ...context, acceptRollback: async () => false };
  try {
    const now = await openDestination(looking, open.settings, "sparsebak.Receive", async () => false);
    if (now === undefined) return false;
    await using client = now.client;
    const lost = !equalBytes(now.headDigest, open.headDigest) && (await lacksAny(now, open));
    await client.close();
    return lost;
  } catch {
    return false;
  }
}

/** True where a volume, or a container as it was, is not in the newer state any more. */
async function lacksAny(now: OpenArchive, { head, record, seal }: OpenArchive): Promise<boolean> {
  for (const entry of head.volumes) {
    const current = now.head.volumes.find((each) => equalBytes(each.volume, entry.volume));
    if (current?.indexGeneration === entry.indexGeneration) continue;
    const after = await readIndex(now, entry.volume);
    if (after === undefined) return true;
    let before: VolumeIndex;
    try {
      before = await readNamedIndex(now.client, entry, record.uuid, seal.opener);
    } catch (error) {
      // It goes with old heads, a while after the step that has replaced it.
      if (isDamage(error)) return true;
      throw error;
    }
    const lists = new Map(after.containers.map((each) => [toHex(each.uid), each]));
    for (const { uid, listDigest, manifestDigest } of before.containers) {
      const is = lists.get(toHex(uid));
      if (is === undefined || !equalBytes(is.listDigest, listDigest)) return true;
      if (!equalBytes(is.manifestDigest, manifestDigest)) return true;
    }
  }
  return false;
}

/** What a reader says of whose archive something has been removed. */
export function changedMeanwhile(command: string): AgentError {
  return new AgentError(
    "failed",
    `${command}: another host has removed something from the archive while it was read, so what was missing may be no damage`,
    "run it again",
  );
}

/** The error to report for one that a reader has met: another one where it is about what the archive holds, and something
 *  has been removed from that. */
export async function ifMovedOn(
  context: Context,
  open: OpenArchive | undefined,
  command: string,
  error: unknown,
): Promise<unknown> {
  const isAboutContent =
    error instanceof AgentError && (error.reason === "integrity" || error instanceof RefusedError);
  if (open === undefined || !isAboutContent || !(await hasLostSince(context, open))) return error;
  return changedMeanwhile(command);
}
