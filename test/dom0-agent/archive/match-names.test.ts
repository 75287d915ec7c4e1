// Volumes by name and pattern.

import { expect, test } from "vitest";
import { matchNames } from "../../../dom0-agent/archive/match-names.ts";

const names = ["vm-a-private", "vm-a-root", "vm-b-private", "deep/er/disk.img", "odd?.img", "a.img"];
const found = (...patterns: string[]): readonly string[] => matchNames(patterns, names).found;

test("a pattern stops at a slash", () => {
  expect(found("vm-*-private")).toEqual(["vm-a-private", "vm-b-private"]);
  expect(found("*.img")).toEqual(["odd?.img", "a.img"]);
  expect(found("*/*/*")).toEqual(["deep/er/disk.img"]);
  expect(found("vm-?-root")).toEqual(["vm-a-root"]);
});

test("a name that exists is taken as it is, each once, in the order given", () => {
  expect(found("odd?.img")).toEqual(["odd?.img"]);
  expect(found("vm-b-private", "vm-*-private")).toEqual(["vm-b-private", "vm-a-private"]);
  // A dot or a plus in a pattern is a dot or a plus.
  expect(matchNames(["a+img*", "?-privat.", "vm-c-private"], names).unmatched.length).toBe(3);
});
