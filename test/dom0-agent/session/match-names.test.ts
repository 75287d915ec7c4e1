// Volumes by name and pattern.

import { expect, test } from "vitest";
import { matchNames } from "../../../dom0-agent/session/match-names.ts";

const names = ["vm-a-private", "vm-a-root", "vm-b-private", "deep/er/disk.img", "odd[1].img", "a.img"];
const found = (...patterns: string[]): readonly string[] => matchNames(patterns, names).found;

test("a star stops at a slash, two don't", () => {
  expect(found("vm-*-private")).toEqual(["vm-a-private", "vm-b-private"]);
  expect(found("*.img")).toEqual(["odd[1].img", "a.img"]);
  expect(found("**.img")).toEqual(["deep/er/disk.img", "odd[1].img", "a.img"]);
  expect(found("vm-?-root")).toEqual(["vm-a-root"]);
  expect(found("vm-[!a]-*")).toEqual(["vm-b-private"]);
  expect(found("vm-[a-c]-root")).toEqual(["vm-a-root"]);
});

test("a name that exists is taken as it is, each once, in the order given", () => {
  expect(found("odd[1].img")).toEqual(["odd[1].img"]);
  expect(found("vm-b-private", "vm-*-private")).toEqual(["vm-b-private", "vm-a-private"]);
  // A dot or a plus in a pattern is a dot or a plus.
  expect(matchNames(["a+img", "*-privat.", "[z-a]*", "["], names).unmatched).toEqual([
    "a+img",
    "*-privat.",
    "[z-a]*",
    "[",
  ]);
});
