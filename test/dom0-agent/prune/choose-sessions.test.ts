// Which sessions go: rules add up, the newest and the protected never go, whatever is asked for.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkRequest,
  chooseSessions,
  type PruneRequest,
} from "../../../dom0-agent/prune/choose-sessions.ts";
import { parseBefore, parseSessions } from "../../../dom0-agent/prune/parse-request.ts";
import { keptBy, noRetention, type Retention } from "../../../dom0-agent/config/retention.ts";
import type { SessionRecord, VolumeIndex } from "../../../protocol/archive/index-file.ts";
import { sessionNameAt } from "../../../protocol/archive/names.ts";
import { sha256 } from "../../../protocol/archive/prefix.ts";
import type { SessionUid } from "../../../protocol/archive/types.ts";

interface Taken {
  readonly takenAt: number;
  /** Seconds since 1970 in its name; by default its place. */
  readonly named?: number;
  readonly protected?: boolean;
  readonly tags?: readonly string[];
}

/** An index with these sessions, in this order. */
function indexOf(sessions: readonly Taken[]): VolumeIndex {
  const records = sessions.map(({ takenAt, tags = [], protected: isProtected = false }, i) => {
    const uid = sha256(new TextEncoder().encode(String(i))).slice(0, 16) as SessionUid;
    return { uid, sequence: i + 1, takenAt, protected: isProtected, tags } as unknown as SessionRecord;
  });
  const containers = records.map(({ uid }, i) => ({
    uid,
    name: sessionNameAt((sessions[i]?.named ?? i) * 1000),
  }));
  return { name: "work", containers, sessions: records } as unknown as VolumeIndex;
}

const day = 86_400_000;
const start = Date.UTC(2026, 0, 1, 12);
const request = (part: Partial<PruneRequest>): PruneRequest => ({
  sessions: [],
  before: undefined,
  retention: noRetention,
  ...part,
});
/** Numbers of the sessions that stay. */
const staying = (sessions: readonly Taken[], part: Partial<PruneRequest>): readonly number[] =>
  chooseSessions(indexOf(sessions), request(part)).flatMap((each, i) => (each.goes ? [] : [i]));

const taken = fc.record({
  takenAt: fc.integer({ min: 0, max: 1500 }).map((hours) => start + hours * 3_600_000),
  protected: fc.boolean(),
  tags: fc.subarray(["x", "y"]),
});
const some = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined });
const retention = fc
  .record({
    last: some,
    hourly: some,
    daily: some,
    weekly: some,
    monthly: some,
    yearly: some,
    tags: fc.subarray(["x", "y"]),
  })
  .map(({ last, tags, ...periods }): Retention => {
    const given = Object.entries(periods).filter(([, count]) => count !== undefined);
    return { ...(last === undefined ? {} : { last }), periods: Object.fromEntries(given), tags };
  });

describe("properties", () => {
  test("the newest and protected sessions never go", () => {
    fc.assert(
      fc.property(fc.array(taken, { minLength: 1, maxLength: 30 }), retention, (sessions, keep) => {
        const stays = new Set(staying(sessions, { retention: keep }));
        expect(stays.has(sessions.length - 1)).toBe(true);
        for (const [i, each] of sessions.entries()) if (each.protected) expect(stays.has(i)).toBe(true);
      }),
    );
  });

  test("what rules keep together is what each keeps alone", () => {
    fc.assert(
      fc.property(
        fc.array(taken, { minLength: 1, maxLength: 30 }),
        retention,
        retention,
        (sessions, a, b) => {
          const { sessions: records } = indexOf(sessions);
          const both: Retention = {
            last: Math.max(a.last ?? 0, b.last ?? 0),
            periods: Object.fromEntries(
              (["hourly", "daily", "weekly", "monthly", "yearly"] as const).map((rule) => [
                rule,
                Math.max(a.periods[rule] ?? 0, b.periods[rule] ?? 0),
              ]),
            ),
            tags: [...a.tags, ...b.tags],
          };
          const union = new Set([...keptBy(records, a).keys(), ...keptBy(records, b).keys()]);
          expect(new Set(keptBy(records, both).keys())).toEqual(union);
        },
      ),
    );
  });

  test("a day's rule keeps the newest session of each of the newest days", () => {
    fc.assert(
      fc.property(
        fc.array(taken, { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 0, max: 10 }),
        (sessions, daily) => {
          const { sessions: records } = indexOf(sessions);
          const days = new Map(records.map((each) => [Math.floor(each.takenAt / day), each]));
          const lastOfDay = new Set(days.values());
          const expected = records.filter((each) => lastOfDay.has(each)).slice(-daily || records.length);
          expect([...keptBy(records, { periods: { daily }, tags: [] }).keys()].reverse()).toEqual(
            daily === 0 ? [] : expected,
          );
        },
      ),
    );
  });
});

test("calendar rules count periods that have a session, weeks from Monday", () => {
  // Sunday, Monday and Monday a week later, UTC.
  const sessions = [4, 5, 12].map((at) => ({ takenAt: Date.UTC(2026, 0, at, 12) }));
  expect(staying(sessions, { retention: { periods: { weekly: 2 }, tags: [] } })).toEqual([1, 2]);
  expect(staying(sessions, { retention: { periods: { monthly: 5 }, tags: [] } })).toEqual([2]);
  expect(staying(sessions, { retention: { periods: { daily: 3 }, tags: [] } })).toEqual([0, 1, 2]);
});

describe("sessions by name", () => {
  const sessions = Array.from({ length: 6 }, (_, i) => ({ takenAt: start + i * day, protected: i === 2 }));
  const name = (i: number): string => sessionNameAt(i * 1000);

  test("a session, a range with both its ends, over what is protected", () => {
    expect(staying(sessions, { sessions: [parseSessions(name(1))] })).toEqual([0, 2, 3, 4, 5]);
    expect(staying(sessions, { sessions: [parseSessions(`${name(1)}..${name(3)}`)] })).toEqual([0, 2, 4, 5]);
    expect(staying(sessions, { sessions: [parseSessions(`${name(3)}..S_20991231-000000`)] })).toEqual([
      0, 1, 2, 5,
    ]);
  });

  test("a range after the clock was set back goes by the order of sessions, whichever end is given first", () => {
    const setBack = [5, 6, 7, 2, 3, 4].map((named, i) => ({ takenAt: start + i, named }));
    for (const range of [`${name(3)}..${name(6)}`, `${name(6)}..${name(3)}`])
      expect(staying(setBack, { sessions: [parseSessions(range)] }), range).toEqual([0, 5]);
    // By name, where the volume lacks an end.
    for (const range of [`${name(1)}..${name(3)}`, `${name(3)}..${name(1)}`])
      expect(staying(setBack, { sessions: [parseSessions(range)] }), range).toEqual([0, 1, 2, 5]);
  });

  test("naming the newest or a protected one by itself is an error that says why", () => {
    expect(() => staying(sessions, { sessions: [parseSessions(name(5))] })).toThrow(
      /newest session, which is never pruned/,
    );
    expect(() => staying(sessions, { sessions: [parseSessions(name(2))] })).toThrow(/is protected/);
  });

  test("dates and keep rules take from what is named", () => {
    const all = [parseSessions(`${name(0)}..${name(5)}`)];
    expect(staying(sessions, { sessions: all, before: start + 2 * day })).toEqual([2, 3, 4, 5]);
    expect(staying(sessions, { before: start + day })).toEqual([1, 2, 3, 4, 5]);
    expect(staying(sessions, { sessions: all, retention: { last: 3, periods: {}, tags: [] } })).toEqual([
      2, 3, 4, 5,
    ]);
  });
});

test("a request without a limit is refused: everything would go", () => {
  expect(() => checkRequest(request({}))).toThrow(/nothing says which sessions go/);
  expect(() => checkRequest(request({ retention: { periods: {}, tags: ["x"] } }))).toThrow(/nothing says/);
  expect(() => checkRequest(request({ retention: { last: 0, periods: { daily: 0 }, tags: [] } }))).toThrow(
    /nothing says/,
  );
  checkRequest(request({ before: 1 }));
});

test("times and names that are none are refused", () => {
  expect(parseBefore("2026-11-23")).toBe(Date.UTC(2026, 10, 23));
  expect(parseBefore("2026-11-23T10:15")).toBe(Date.UTC(2026, 10, 23, 10, 15));
  for (const each of ["2026-02-31", "2026-13-01", "yesterday", "2026-11-23T25:00", ""])
    expect(() => parseBefore(each), each).toThrow(/--before: found/);
  for (const each of [
    "S_1",
    "work",
    "S_20261123-101500..",
    "S_20261123-101500..S_20261123-101500..S_20261123-101500",
  ])
    expect(() => parseSessions(each), each).toThrow(/--session: found/);
});
