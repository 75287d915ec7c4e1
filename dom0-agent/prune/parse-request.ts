// From the text of options and settings to what a prune works with. Times are UTC, as session names are.

import { isSessionName } from "../../protocol/archive/names.ts";
import { AgentError } from "../errors.ts";
import type { SessionRange } from "./choose-sessions.ts";

/** `S_…`, or `S_…..S_…`. Throws AgentError `usage`. */
export function parseSessions(text: string): SessionRange {
  const [from = "", to = from, ...more] = text.split("..");
  if (!isSessionName(from) || !isSessionName(to) || more.length > 0) {
    throw new AgentError(
      "usage",
      `--session: found «${text}», wanted S_YYYYMMDD-HHMMSS, or two of them with .. between`,
    );
  }
  return { from, to };
}

/** `2026-11-23`, `2026-11-23T10:15` or with seconds; milliseconds since 1970. Throws AgentError `usage`. */
export function parseBefore(text: string): number {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?)?$/.exec(text);
  const [, day = "", minute = "00:00", second = ":00"] = match ?? [];
  const time = match === null ? Number.NaN : Date.parse(`${day}T${minute}${second}Z`);
  // Date.parse takes the 31st of a short month for the next one's first days.
  if (Number.isNaN(time) || !new Date(time).toISOString().startsWith(day)) {
    throw new AgentError("usage", `--before: found «${text}», wanted YYYY-MM-DD or YYYY-MM-DDTHH:MM, in UTC`);
  }
  return time;
}
