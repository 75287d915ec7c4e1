// Finding one session of a volume by what a person calls it, and what is told about each.

import { toHex } from "../../protocol/bytes.ts";
import {
  type Container,
  containerOf,
  type SessionRecord,
  type VolumeIndex,
} from "../../protocol/archive/index-file.ts";
import type { SessionUid } from "../../protocol/archive/types.ts";
import { AssembleError } from "./errors.ts";
import { formatTime, printable } from "./printable.ts";

/** A session and its files. */
export interface FoundSession {
  readonly record: SessionRecord;
  readonly container: Container;
}

/** All sessions in the order of their sequence, oldest first. */
export function allSessions(index: VolumeIndex): readonly FoundSession[] {
  const containers = new Map(index.containers.map((each) => [toHex(each.uid), each]));
  return index.sessions.flatMap((record) => {
    const container = containers.get(toHex(record.uid));
    return container === undefined ? [] : [{ record, container }];
  });
}

/**
 * The session that `wanted` means: its uid, its label, a tag that only one session has, or a beginning of a label
 * that fits only one; without `wanted` the newest. Throws AssembleError `no-such-session`.
 */
export function findSession(index: VolumeIndex, wanted: SessionUid | string | undefined): FoundSession {
  if (wanted === undefined) {
    const record = index.sessions.at(-1);
    const container = record && containerOf(index, record.uid);
    if (record && container) return { record, container };
    throw new AssembleError("no-such-session", `volume has no sessions: ${printable(index.name)}`);
  }
  const sessions = allSessions(index);
  const text = typeof wanted === "string" ? wanted : toHex(wanted);
  const rules: readonly ((each: FoundSession) => boolean)[] = [
    (each) => each.container.name === text,
    (each) => toHex(each.record.uid) === text.toLowerCase(),
    (each) => each.record.tags.includes(text),
    (each) => text.startsWith("S_") && each.container.name.startsWith(text),
  ];
  for (const rule of rules) {
    const fitting = sessions.filter(rule);
    const [first] = fitting;
    if (first !== undefined && fitting.length === 1) return first;
    if (first !== undefined) {
      const names = fitting.map((each) => each.container.name).slice(-10);
      throw new AssembleError(
        "no-such-session",
        `${fitting.length} sessions fit, wanted one: ${printable(text)}`,
        `name one of them by its label: ${names.join(", ")}`,
      );
    }
  }
  throw notFound(index, sessions, text);
}

function notFound(index: VolumeIndex, sessions: readonly FoundSession[], text: string): AssembleError {
  const pruned = index.containers.find(
    (each) => each.name === text || toHex(each.uid) === text.toLowerCase(),
  );
  const newest = sessions.at(-1);
  return new AssembleError(
    "no-such-session",
    pruned === undefined
      ? `volume ${printable(index.name)} has no such session: ${printable(text)}`
      : `session was pruned; only chunks that later sessions need are left: ${pruned.name}`,
    newest === undefined
      ? "the volume has no sessions"
      : `--list shows its ${sessions.length} sessions; the newest is ${newest.container.name}, ${formatTime(newest.record.takenAt)}`,
  );
}
