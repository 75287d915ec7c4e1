// Which sessions of a volume a prune removes, and why the others stay. Pure: nothing here touches an archive.

import { containerOf, type SessionRecord, type VolumeIndex } from "../../protocol/archive/index-file.ts";
import { AgentError } from "../errors.ts";
import { hasLimit, keptBy, type Retention } from "../config/retention.ts";

/** What the user asked for. */
export interface PruneRequest {
  /** Sessions by name, or ranges of names, both ends included. Empty: all that the rest of the request says. */
  readonly sessions: readonly SessionRange[];
  /** Only sessions taken before that time: milliseconds since 1970. */
  readonly before: number | undefined;
  readonly retention: Retention;
}

export interface SessionRange {
  /** `S_…`, in either order; equal where one session is named. */
  readonly from: string;
  readonly to: string;
}

export interface ChosenSession {
  readonly session: SessionRecord;
  readonly name: string;
  readonly goes: boolean;
  /** Why it stays. */
  readonly why?: string;
}

/** Throws AgentError `usage` for a request that would be a mistake: without any limit, everything would go. */
export function checkRequest({ sessions, before, retention }: PruneRequest): void {
  if (sessions.length > 0 || before !== undefined || hasLimit(retention)) return;
  throw new AgentError(
    "usage",
    "prune: nothing says which sessions go",
    "give --session, --before or one of --keep-last … --keep-yearly, or set keep-last … in the settings",
  );
}

/**
 * Every session of the volume, in the order of their sequence, with what becomes of it. The newest never goes, nor does
 * a protected one; naming one of these by itself is an error, a range or rule passes over it.
 */
export function chooseSessions(index: VolumeIndex, request: PruneRequest): readonly ChosenSession[] {
  const named = index.sessions.map((session) => ({
    session,
    name: containerOf(index, session.uid)?.name ?? "",
  }));
  const newest = index.sessions.at(-1);
  const { retention, before } = request;
  const kept = keptBy(index.sessions, retention);
  const ranges = request.sessions.map((range) => ({ range, among: within(named, range) }));
  return named.map(({ session, name }): ChosenSession => {
    const naming = ranges.filter(({ among }) => among.has(session));
    const stays = (why: string): ChosenSession => ({ session, name, goes: false, why });
    const refused = naming.some(({ range }) => range.from === range.to);
    if (session === newest) {
      if (refused)
        throw new AgentError(
          "failed",
          `prune: ${index.name}: ${name} is the volume's newest session, which is never pruned`,
          "delete removes a volume with all its sessions",
        );
      return stays("newest");
    }
    if (session.protected) {
      if (refused)
        throw new AgentError(
          "failed",
          `prune: ${index.name}: ${name} is protected`,
          `sparsebak tag --unprotect --session ${name} '${index.name}'`,
        );
      return stays("protected");
    }
    if (request.sessions.length > 0 && naming.length === 0) return stays("not named");
    if (before !== undefined && session.takenAt >= before) return stays("not before the date");
    const rule = kept.get(session);
    return rule === undefined ? { session, name, goes: true } : stays(rule);
  });
}

/** The sessions of a range by their place in the order of sessions, not of names, and so for its ends: clocks are set back. */
function within(
  named: readonly { readonly session: SessionRecord; readonly name: string }[],
  { from, to }: SessionRange,
): ReadonlySet<SessionRecord> {
  const first = named.findIndex((each) => each.name === from);
  const last = named.findIndex((each) => each.name === to);
  if (first < 0 || last < 0) {
    // An end that this volume does not have (it was not sent then): by name.
    const [low, high] = from < to ? [from, to] : [to, from];
    return new Set(named.filter(({ name }) => name >= low && name <= high).map((each) => each.session));
  }
  const among = named.slice(Math.min(first, last), Math.max(first, last) + 1);
  return new Set(among.map((each) => each.session));
}
