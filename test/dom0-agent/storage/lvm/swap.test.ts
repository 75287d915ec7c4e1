// What a restore has left in the group where nothing is written down of it: which may be removed.

import { expect, test } from "vitest";
import { leftTargets } from "../../../../dom0-agent/storage/lvm/swap.ts";

const tags = ["sparsebak", "sparsebak-0123abcd"];
const lv = (name: string, own = true): { name: string; tags: readonly string[] } => ({
  name,
  tags: own ? tags : ["sparsebak", "sparsebak-of-another"],
});

test("a target goes; one whose volume was put aside and has no successor stays, and is told of", () => {
  const halfMade = [lv("vm-a-private.restore"), lv("vm-new.restore"), lv("vm-c.restore")];
  const volumes = [
    ...halfMade,
    lv("vm-a-private", false),
    lv("vm-a-private.old-0000aaaa"),
    lv("vm-b.restore"),
    lv("vm-b.old-0000aaaa"),
    lv("vm-c.old-0000aaaa", false),
    lv("vm-d.restore", false),
  ];
  expect(leftTargets(volumes, tags)).toEqual({
    halfMade,
    halfSwapped: [{ volume: "vm-b", restored: "vm-b.restore", old: "vm-b.old-0000aaaa" }],
  });
});
