// What dmsetup says of a pool. Lines as the 6.1 and 6.12 kernels print them; what holds and releases is tried in the lab.

import { describe, expect, test } from "vitest";
import { parsePoolStatus, poolDevice } from "../../../../dom0-agent/storage/lvm/pool-device.ts";

const free = "0 524288 thin-pool 7 22/1024 128/4096 - rw discard_passdown queue_if_no_space - 256\n";
const held = "0 524288 thin-pool 7 22/1024 128/4096 31 rw discard_passdown queue_if_no_space - 256\n";

describe("a pool's status", () => {
  test("nobody holds its metadata", () => {
    expect(parsePoolStatus(free)).toEqual({ transaction: "7", heldRoot: undefined });
  });

  test("somebody does, in that block", () => {
    expect(parsePoolStatus(held)).toEqual({ transaction: "7", heldRoot: "31" });
  });

  const broken: readonly (readonly [string, string])[] = [
    ["of a failed pool", "0 524288 thin-pool Fail\n"],
    ["of a pool that can't be asked", "0 524288 thin-pool Error\n"],
    ["of something else", "0 524288 thin 4096 8191\n"],
    ["with a block that is no number", held.replace(" 31 ", " 0x1f ")],
    ["with a transaction that is no number", held.replace(" 7 ", " 0x7 ")],
    ["empty", ""],
    ["an end of line and nothing else", "\n"],
  ];
  test.each(broken)("%s: nothing is known", (_what, line) => {
    expect(parsePoolStatus(line)).toBeUndefined();
  });

  // A number that was cut off would be another block.
  test("cut off anywhere: nothing is known", () => {
    for (let length = 0; length < held.length; length++) {
      expect(parsePoolStatus(held.slice(0, length)), `${length} bytes`).toBeUndefined();
    }
  });
});

test("a pool's devices, dashes doubled", () => {
  expect(poolDevice("qubes_dom0", "vm-pool")).toEqual({
    title: "qubes_dom0/vm-pool",
    name: "qubes_dom0-vm--pool-tpool",
    metadata: "/dev/mapper/qubes_dom0-vm--pool_tmeta",
  });
});
