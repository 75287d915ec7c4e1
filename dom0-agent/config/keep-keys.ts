// The keys keep-last … keep-yearly and keep-tag. A section that has any of them says all: it takes none from [var].

import { AgentError } from "../errors.ts";
import { type PeriodRule, periodRules, type Retention } from "./retention.ts";

export const retentionKeys = [
  "keep-last",
  "keep-hourly",
  "keep-daily",
  "keep-weekly",
  "keep-monthly",
  "keep-yearly",
  "keep-tag",
] as const;
type RetentionKey = (typeof retentionKeys)[number];

/** Most that a rule can keep. */
export const maxKept = 1_000_000;

/** What the keys of one section keep; undefined where it has none of them. Throws AgentError `usage`. */
export function retentionFrom(keys: ReadonlyMap<string, string>, file: string): Retention | undefined {
  if (!retentionKeys.some((key) => keys.has(key))) return undefined;
  const count = (key: RetentionKey): number | undefined => {
    const text = keys.get(key);
    if (text === undefined) return undefined;
    if (/^\d{1,7}$/.test(text) && Number(text) <= maxKept) return Number(text);
    throw new AgentError("usage", `${file}: ${key}: found «${text}», wanted 0 to ${maxKept}`);
  };
  const tags = (keys.get("keep-tag") ?? "").split(/[\s,]+/).filter(Boolean);
  const wrong = tags.find((each) => !/^[A-Za-z0-9._+-]{1,64}$/.test(each));
  if (wrong !== undefined)
    throw new AgentError("usage", `${file}: keep-tag: found «${wrong}», wanted tags with spaces between`);
  return retentionOf(count("keep-last"), (rule) => count(`keep-${rule}`), tags);
}

/** Rules by their counts. */
export function retentionOf(
  last: number | undefined,
  count: (rule: PeriodRule) => number | undefined,
  tags: readonly string[],
): Retention {
  const periods = periodRules.flatMap((rule) => {
    const found = count(rule);
    return found === undefined ? [] : [[rule, found] as const];
  });
  return { ...(last === undefined ? {} : { last }), periods: Object.fromEntries(periods), tags };
}
