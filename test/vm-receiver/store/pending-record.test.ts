import { expect, test } from "vitest";
import { FormatError } from "../../../protocol/errors.ts";
import {
  decodePending,
  encodePending,
  type PendingRecord,
} from "../../../vm-receiver/store/pending-record.ts";

const record = {
  form: "tar",
  archive: new Uint8Array(16).fill(1),
  volume: new Uint8Array(16).fill(2),
  session: new Uint8Array(16).fill(3),
  generation: 4,
  name: "S_20261123-101500",
  chunkSize: 131_072,
  size: 2 ** 40,
} as unknown as PendingRecord;

test("the layout is what its comment says", () => {
  const bytes = encodePending(record);
  expect(Buffer.from(bytes.subarray(0, 8)).toString()).toBe("SPBKPEND");
  expect(bytes.length).toBe(8 + 2 + 1 + 16 + 16 + 16 + 8 + 2 + 17 + 4 + 8 + 32);
  expect(decodePending(bytes)).toEqual(record);
});

test("no other bytes are one", () => {
  const bytes = encodePending(record);
  for (let i = 0; i < bytes.length; i++) {
    const wrong = bytes.slice();
    wrong[i]! ^= 1;
    expect(() => decodePending(wrong)).toThrow(FormatError);
  }
  for (const length of [0, 31, 32, bytes.length - 1]) {
    expect(() => decodePending(bytes.subarray(0, length))).toThrow(FormatError);
  }
});
