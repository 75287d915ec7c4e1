// Finding one session of a volume by what a person calls it.

import {
  type Container,
  containerOf,
  type SessionRecord,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import { toHex } from "../../protocol/bytes.ts";
import { AgentError } from "../errors.ts";

/** A session and its files. */
export interface FoundSession {
  readonly record: SessionRecord;
  readonly container: Container;
}

/** All sessions in the order of their sequence, oldest first. */
export function allSessions(index: VolumeIndex): readonly FoundSession[] {
  return index.sessions.flatMap((record) => {
    const container = containerOf(index, record.uid);
    return container === undefined ? [] : [{ record, container }];
  });
}

/**
 * The session that `wanted` means: its label, its uid in hexadecimal, a tag, or a beginning of a label; without
 * `wanted` the newest. A tag that several sessions have means the newest of them. Throws AgentError `failed` where
 * none fits, or a beginning fits several.
 */
export function findSession(index: VolumeIndex, wanted: string | undefined): FoundSession {
  const sessions = allSessions(index);
  const newest = sessions.at(-1);
  if (newest === undefined) throw new AgentError("failed", `${index.name}: the archive has no session of it`);
  if (wanted === undefined) return newest;
  const exact =
    sessions.find((each) => each.container.name === wanted) ??
    sessions.find((each) => toHex(each.record.uid) === wanted.toLowerCase()) ??
    sessions.findLast((each) => each.record.tags.includes(wanted));
  if (exact !== undefined) return exact;
  const fitting = sessions.filter(
    (each) => wanted.startsWith("S_") && each.container.name.startsWith(wanted),
  );
  const [first] = fitting;
  if (first !== undefined && fitting.length === 1) return first;
  const hint = `sparsebak list ${index.name} shows its ${sessions.length} sessions; the newest is ${newest.container.name}`;
  if (first !== undefined) {
    throw new AgentError("failed", `${index.name}: ${fitting.length} sessions begin with «${wanted}»`, hint);
  }
  const pruned = index.containers.some((each) => each.name === wanted);
  throw new AgentError(
    "failed",
    pruned
      ? `${index.name}: session ${wanted} was pruned; only chunks that other sessions need are left`
      : `${index.name}: the archive has no session «${wanted}» of it`,
    hint,
  );
}
