// What a person may call a session.

import { describe, expect, test } from "vitest";
import { findSession } from "../../../dom0-agent/restore/find-session.ts";
import type { VolumeIndex } from "../../../protocol/archive/index-file.ts";

const names = ["S_20261123-101500", "S_20261123-111500", "S_20261124-101500"];
const uids = names.map((_, i) => new Uint8Array(16).fill(0xa0 + i));
const index = {
  name: "work",
  containers: [
    ...names.map((name, i) => ({ name, uid: uids[i] })),
    { name: "S_20200101-000000", uid: new Uint8Array(16) },
  ],
  sessions: names.map((_, i) => ({ uid: uids[i], sequence: i + 1, tags: i < 2 ? ["weekly"] : [] })),
} as unknown as VolumeIndex;

describe("findSession", () => {
  test.each([
    [undefined, names[2]],
    [names[0], names[0]],
    ["S_20261124", names[2]],
    ["A1".repeat(16), names[1]],
    ["weekly", names[1]],
  ])("%s", (wanted, name) => {
    expect(findSession(index, wanted).container.name).toBe(name);
  });

  test.each([
    ["S_20261123", /2 sessions begin with/],
    ["S_20200101-000000", /was pruned/],
    ["monthly", /no session «monthly»/],
    ["", /no session «»/],
  ])("%s is refused", (wanted, message) => {
    expect(() => findSession(index, wanted)).toThrow(message);
  });

  test("a volume without sessions", () => {
    expect(() => findSession({ ...index, sessions: [] }, undefined)).toThrow(/has no session of it/);
  });
});
