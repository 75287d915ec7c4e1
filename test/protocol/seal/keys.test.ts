// dom0's MACs (docs/archive-format.md, F11, F13 and F15).

import { describe, expect, test } from "vitest";
import { toHex } from "../../../protocol/bytes.ts";
import { archiveKeys, logEntry, macFits, macOf } from "../../../protocol/seal/keys.ts";
import type { ArchiveUuid, Digest, Generation, Mac } from "../../../protocol/archive/types.ts";

const master = new Uint8Array(32).fill(1);
const archive = (byte: number): ArchiveUuid => new Uint8Array(16).fill(byte) as ArchiveUuid;

describe("keys", () => {
  test("each use and each archive has its own", () => {
    const keys = [
      archiveKeys(master, archive(1)),
      archiveKeys(master, archive(2)),
      archiveKeys(new Uint8Array(32), archive(1)),
    ];
    const all = keys.flatMap((each) => [each.header, each.head, each.log].map(toHex));
    expect(new Set(all).size).toBe(9);
    expect(all.every((each) => each.length === 64)).toBe(true);
  });
});

describe("MACs", () => {
  const { head } = archiveKeys(master, archive(1));
  const input = new TextEncoder().encode("a head");

  test("fit what they were made of and nothing else", () => {
    const mac = macOf(head, input);
    expect(macFits(head, input, mac)).toBe(true);
    for (let bit = 0; bit < 256; bit++) {
      const other = mac.slice() as Mac;
      other[bit >> 3] = other[bit >> 3]! ^ (1 << (bit & 7));
      expect(macFits(head, input, other)).toBe(false);
    }
    expect(macFits(head, input.subarray(1), mac)).toBe(false);
    expect(macFits(archiveKeys(master, archive(2)).head, input, mac)).toBe(false);
  });

  test("a log's entry names generation and chain", () => {
    const keys = archiveKeys(master, archive(1));
    const chain = new Uint8Array(32).fill(3) as Digest;
    const other = new Uint8Array(32).fill(4) as Digest;
    const entries = [
      logEntry(keys, 1 as Generation, chain),
      logEntry(keys, 2 as Generation, chain),
      logEntry(keys, 1 as Generation, other),
    ];
    expect(new Set(entries.map(toHex)).size).toBe(3);
    expect(entries.every((each) => each.length === 8)).toBe(true);
  });
});
