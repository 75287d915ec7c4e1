// Retention: which sessions a set of keep rules keeps. Rules add up: what any of them keeps stays. Calendar rules count
// periods that have a session, in UTC, and keep the newest session of each; newest by sequence, whatever the clock
// said then.

import type { SessionRecord } from "../../protocol/archive/index-file.ts";

/** How many of each a rule keeps; a rule that is not there keeps nothing. */
export const periodRules = ["hourly", "daily", "weekly", "monthly", "yearly"] as const;
export type PeriodRule = (typeof periodRules)[number];

export interface Retention {
  /** The newest so many. */
  readonly last?: number;
  /** Of the newest so many periods that have a session, the newest session of each. */
  readonly periods: Readonly<Partial<Record<PeriodRule, number>>>;
  /** Every session with one of these. */
  readonly tags: readonly string[];
}

export const noRetention: Retention = { periods: {}, tags: [] };

/** True where a rule keeps something by number or time. Tags alone don't count: everything without one would go. */
export function hasLimit({ last, periods }: Retention): boolean {
  return [last, ...Object.values(periods)].some((count) => count !== undefined && count > 0);
}

/** Which rule keeps a session, for each that one keeps; `sessions` in the order of their sequence. */
export function keptBy<Session extends Pick<SessionRecord, "takenAt" | "tags">>(
  sessions: readonly Session[],
  retention: Retention,
): ReadonlyMap<Session, string> {
  const kept = new Map<Session, string>();
  const keep = (session: Session, why: string): void => {
    if (!kept.has(session)) kept.set(session, why);
  };
  const newestFirst = sessions.toReversed();
  for (const each of newestFirst.slice(0, retention.last ?? 0)) keep(each, "keep-last");
  for (const rule of periodRules) {
    const seen = new Set<string>();
    for (const each of newestFirst) {
      const period = periodOf[rule](new Date(each.takenAt));
      if (seen.has(period)) continue;
      if (seen.size === (retention.periods[rule] ?? 0)) break;
      seen.add(period);
      keep(each, `keep-${rule}`);
    }
  }
  for (const each of newestFirst) {
    const tag = retention.tags.find((wanted) => each.tags.includes(wanted));
    if (tag !== undefined) keep(each, `keep-tag ${tag}`);
  }
  return kept;
}

const periodOf: Readonly<Record<PeriodRule, (time: Date) => string>> = {
  hourly: (time) => time.toISOString().slice(0, 13),
  daily: (time) => time.toISOString().slice(0, 10),
  weekly: (time) => String(weekOf(time)),
  monthly: (time) => time.toISOString().slice(0, 7),
  yearly: (time) => time.toISOString().slice(0, 4),
};

/** Weeks from Monday to Sunday, counted from the one of 1970-01-01, a Thursday. */
function weekOf(time: Date): number {
  const days = Math.floor(time.getTime() / 86_400_000);
  return Math.floor((days + 3) / 7);
}
